//! tmp
fn main() {
    use waypost::core::*;
    let args: Vec<String> = std::env::args().collect();
    let date = args.iter().position(|a| a == "--date").map(|i| waypost::units::Date::parse(&args[i + 1]).unwrap());
    let config = PipelineConfig {
        era: date.map_or(calendar::Era::AsSaid, calendar::Era::NotAfter),
        journey: Default::default(),
        sampling: Default::default(),
    };
    let emit = if args[3] == "fixes" { waypost::replay::Emit::Fixes } else { waypost::replay::Emit::Records };
    let f = std::io::BufReader::new(std::fs::File::open(args.last().unwrap()).unwrap());
    waypost::replay::emit(f, config, emit, std::io::stdout().lock()).unwrap();
}
