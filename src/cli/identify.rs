//! `waypost identify`: explains parcel codes and RFID tag memories, given as arguments or as lines
//! of input.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _, Write};

use serde::Serialize;

use waypost_model::parcel::code::{Candidate, Code, CodeKind};
use waypost_model::parcel::epc;

/// Maximum bytes of an input line; longer lines are split.
const MAX_LINE: u64 = 1 << 16;

/// Written forms of the GS1 element separator, which no keyboard has.
const GS_ESCAPES: [&str; 3] = ["<GS>", "\\x1d", "^]"];

/// Output format of the explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Failure of `waypost identify`.
#[derive(Debug, thiserror::Error)]
pub(super) enum CodeError {
    /// Reading the input or writing the output failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The argument with this number has no printable characters.
    #[error("code {0}: has no printable characters")]
    Unprintable(usize),
}

/// Explains each of `codes`. Reads lines from `input` if `codes` is empty, and in place of each
/// `-`. `domain` is the operator's domain, used in the URIs of codes that are not GS1 numbers.
///
/// # Errors
/// An argument has no printable characters, or reading or writing fails. Empty lines are skipped.
pub(super) fn command(
    codes: &[String],
    mut input: impl BufRead,
    domain: &str,
    form: OutputFormat,
    mut out: impl Write,
) -> Result<(), CodeError> {
    let from_input = ["-".to_owned()];
    let codes = if codes.is_empty() { &from_input[..] } else { codes };
    for (index, code) in codes.iter().enumerate() {
        if code == "-" {
            identify_lines(&mut input, domain, form, &mut out)?;
        } else if let Some(code) = parse_code(code.as_bytes()) {
            write_code(&code, domain, form, &mut out)?;
        } else {
            return Err(CodeError::Unprintable(index + 1));
        }
    }
    Ok(out.flush()?)
}

fn identify_lines(
    input: &mut impl BufRead,
    domain: &str,
    form: OutputFormat,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut line = Vec::new();
    while input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
        if let Some(code) = parse_code(&line) {
            write_code(&code, domain, form, out)?;
            // The input may be a live scanner.
            out.flush()?;
        }
        line.clear();
    }
    Ok(())
}

/// Parses a code. Input that matches no code format is tried as the memory of an RFID tag.
fn parse_code(bytes: &[u8]) -> Option<Code> {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    for written in GS_ESCAPES {
        text = text.replace(written, "\x1d");
    }
    let mut code = Code::parse(text.as_bytes())?;
    if code.most_likely().kind == CodeKind::Unknown
        && let Some(tag) = epc::parse_tag(&code.text)
    {
        let understood = tag.kind != CodeKind::Rfid;
        code.candidates.insert(if understood { 0 } else { 1 }, tag);
    }
    Some(code)
}

fn write_code(
    code: &Code,
    domain: &str,
    form: OutputFormat,
    out: &mut impl Write,
) -> io::Result<()> {
    match form {
        OutputFormat::Text => text(code, domain, out),
        OutputFormat::Json => {
            serde_json::to_writer(&mut *out, &Decoded::new(code, domain))?;
            out.write_all(b"\n")
        }
    }
}

fn text(code: &Code, domain: &str, out: &mut impl Write) -> io::Result<()> {
    let best = code.most_likely();
    write!(out, "{}  {}", best.key, describe(best))?;
    match code.symbology {
        Some(symbology) => writeln!(out, ", {}", symbology.name())?,
        None => writeln!(out)?,
    }
    let mut line = |name: &str, value: &str| writeln!(out, "  {name:<18} {value}");
    if let Some(says) = code.control() {
        return line("control", says);
    }
    line("uri", &best.uri(domain))?;
    for field in &best.fields {
        line(&field.name, &field.value)?;
    }
    for other in &code.candidates[1..] {
        line("or", &format!("{}  {}", other.key, describe(other)))?;
    }
    Ok(())
}

/// Kind, carrier and result of the check digit.
fn describe(candidate: &Candidate) -> String {
    let check = match candidate.check_ok {
        Some(true) => "check digit right",
        Some(false) => "check digit WRONG",
        None => "no check digit",
    };
    let carrier = candidate.carrier.map(|carrier| format!(" of {}", carrier.as_str()));
    format!("{}{}, {check}", candidate.kind.as_str(), carrier.unwrap_or_default())
}

/// JSON form of a code: the best candidate, then all candidates.
#[derive(Debug, Serialize)]
struct Decoded<'a> {
    text: &'a str,
    aim: Option<String>,
    symbology: Option<&'static str>,
    #[serde(flatten)]
    best: CodeReport<'a>,
    fields: BTreeMap<&'a str, &'a str>,
    candidates: Vec<CodeReport<'a>>,
}

#[derive(Debug, Serialize)]
struct CodeReport<'a> {
    kind: &'static str,
    carrier: Option<&'static str>,
    key: &'a str,
    check_ok: Option<bool>,
    uri: Option<String>,
}

impl<'a> Decoded<'a> {
    fn new(code: &'a Code, domain: &str) -> Self {
        let best = code.most_likely();
        // In reverse order, so that the first of two elements with the same name is the one kept.
        let fields = best.fields.iter().rev();
        Self {
            text: &code.text,
            aim: code.symbology.map(|symbology| symbology.aim()),
            symbology: code.symbology.map(|symbology| symbology.name()),
            best: CodeReport::new(best, domain),
            fields: fields.map(|field| (field.name.as_str(), field.value.as_str())).collect(),
            candidates: code.candidates.iter().map(|one| CodeReport::new(one, domain)).collect(),
        }
    }
}

impl<'a> CodeReport<'a> {
    fn new(candidate: &'a Candidate, domain: &str) -> Self {
        Self {
            kind: candidate.kind.as_str(),
            carrier: candidate.carrier.map(|carrier| carrier.as_str()),
            key: &candidate.key,
            check_ok: candidate.check_ok,
            uri: (candidate.kind != CodeKind::Control).then(|| candidate.uri(domain)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identify(codes: &[&str], input: &str, form: OutputFormat) -> Result<String, String> {
        let codes: Vec<String> = codes.iter().map(|&code| code.to_owned()).collect();
        let mut out = Vec::new();
        command(&codes, input.as_bytes(), "id.example.com", form, &mut out)
            .map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_label_is_explained_however_its_separator_is_written() {
        let expected = "\
395212340000000014  sscc, check digit right, GS1-128
  uri                https://id.gs1.org/00/395212340000000014
  00                 395212340000000014
  421                27680331
  ship_to_country    276
  ship_to_post       80331
";
        for gs in ["<GS>", "\\x1d", "^]", "\x1d"] {
            let label = format!("]C100395212340000000014{gs}42127680331");
            assert_eq!(identify(&[&label], "", OutputFormat::Text).as_deref(), Ok(expected));
            assert_eq!(
                identify(&[], &format!("\n{label}\r\n\n"), OutputFormat::Text).as_deref(),
                Ok(expected)
            );
        }
    }

    #[test]
    fn tags_control_codes_and_the_unknown_are_told_apart() {
        for (code, expected) in [
            ("3174257BF4499602D2000000", "106141412345678908  sscc, no check digit\n  uri"),
            ("E2801160600002086B5A1B3C", "\n  or                 E2801160600002086B5A1B3C  rfid"),
            (
                "VANCTL:DAMAGED",
                "VANCTL:DAMAGED  control, no check digit\n  control            DAMAGED\n",
            ),
            ("1z999aa10123456785", "1Z999AA10123456785  ups_1z of ups, check digit WRONG\n"),
            ("pkg 7", "https://id.example.com/parcel/obj/PKG7\n"),
        ] {
            let text = identify(&[code], "", OutputFormat::Text).unwrap();
            assert!(text.contains(expected), "{text}");
        }
        assert_eq!(
            identify(&["1", " \r"], "", OutputFormat::Text),
            Err("code 2: has no printable characters".to_owned())
        );
    }

    #[test]
    fn json_has_the_best_and_all_candidates() {
        let json =
            identify(&["00106141412345678908", "-"], "VANCTL:UNDO", OutputFormat::Json).unwrap();
        let lines: Vec<serde_json::Value> =
            json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [sscc, undo] = &lines[..] else { panic!("{json}") };
        assert_eq!(sscc["kind"], "sscc");
        assert_eq!(sscc["key"], "106141412345678908");
        assert_eq!(sscc["check_ok"], true);
        assert_eq!(sscc["fields"]["00"], "106141412345678908");
        assert_eq!(sscc["candidates"][1]["kind"], "usps_20");
        assert_eq!(
            sscc["candidates"][1]["uri"],
            "https://id.example.com/carrier/usps/obj/00106141412345678908"
        );
        assert_eq!(
            (&undo["kind"], &undo["uri"], &undo["check_ok"]),
            (&"control".into(), &().into(), &().into())
        );
    }
}
