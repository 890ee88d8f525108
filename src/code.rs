//! Codes of labels and memories of radio tags, as arguments or lines → what they mean: `waypost code`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _, Write};

use serde::Serialize;

use crate::core::parcel::code::{Candidate, Code, Kind};
use crate::core::parcel::epc;

/// No line is looked at further.
const MAX_LINE: u64 = 1 << 16;

/// How people write the separator of GS1 elements, which no keyboard has.
const WRITTEN_GS: [&str; 3] = ["<GS>", "\\x1d", "^]"];

/// In which form it is said what a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// Why there is nothing more to say.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// Reading, or writing.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// An argument that says nothing.
    #[error("code {0}: nothing in it can be printed")]
    Nothing(usize),
}

/// Says what each of `codes` means, or each line of `input` where there are none or `-` stands. `domain` is the
/// operator's, in the URIs of what GS1 does not number.
///
/// # Errors
/// An argument with nothing printable in it; empty lines are skipped.
pub fn command(
    codes: &[String],
    mut input: impl BufRead,
    domain: &str,
    form: Form,
    mut out: impl Write,
) -> Result<(), CodeError> {
    let from_input = ["-".to_owned()];
    let codes = if codes.is_empty() { &from_input[..] } else { codes };
    for (index, code) in codes.iter().enumerate() {
        if code == "-" {
            lines(&mut input, domain, form, &mut out)?;
        } else if let Some(code) = read(code.as_bytes()) {
            say(&code, domain, form, &mut out)?;
        } else {
            return Err(CodeError::Nothing(index + 1));
        }
    }
    Ok(out.flush()?)
}

fn lines(
    input: &mut impl BufRead,
    domain: &str,
    form: Form,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut line = Vec::new();
    while input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
        if let Some(code) = read(&line) {
            say(&code, domain, form, out)?;
            // A scanner may be at the other end.
            out.flush()?;
        }
        line.clear();
    }
    Ok(())
}

/// A code, or what is a tag's memory where no shape of a code fits.
fn read(bytes: &[u8]) -> Option<Code> {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    for written in WRITTEN_GS {
        text = text.replace(written, "\x1d");
    }
    let mut code = Code::read(text.as_bytes())?;
    if code.best().kind == Kind::Unknown
        && let Some(tag) = epc::tag(&code.text)
    {
        let understood = tag.kind != Kind::Rfid;
        code.candidates.insert(if understood { 0 } else { 1 }, tag);
    }
    Some(code)
}

fn say(code: &Code, domain: &str, form: Form, out: &mut impl Write) -> io::Result<()> {
    match form {
        Form::Text => text(code, domain, out),
        Form::Json => {
            serde_json::to_writer(&mut *out, &Said::new(code, domain))?;
            out.write_all(b"\n")
        }
    }
}

fn text(code: &Code, domain: &str, out: &mut impl Write) -> io::Result<()> {
    let best = code.best();
    write!(out, "{}  {}", best.key, described(best))?;
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
        line("or", &format!("{}  {}", other.key, described(other)))?;
    }
    Ok(())
}

/// Kind, carrier and check digit.
fn described(candidate: &Candidate) -> String {
    let check = match candidate.check_ok {
        Some(true) => "check digit right",
        Some(false) => "check digit WRONG",
        None => "no check digit",
    };
    let carrier = candidate.carrier.map(|carrier| format!(" of {}", carrier.name()));
    format!("{}{}, {check}", candidate.kind.name(), carrier.unwrap_or_default())
}

/// A code as JSON: the best of its candidates, then all of them.
#[derive(Debug, Serialize)]
struct Said<'a> {
    text: &'a str,
    aim: Option<String>,
    symbology: Option<&'static str>,
    #[serde(flatten)]
    best: One<'a>,
    fields: BTreeMap<&'a str, &'a str>,
    candidates: Vec<One<'a>>,
}

#[derive(Debug, Serialize)]
struct One<'a> {
    kind: &'static str,
    carrier: Option<&'static str>,
    key: &'a str,
    check_ok: Option<bool>,
    uri: Option<String>,
}

impl<'a> Said<'a> {
    fn new(code: &'a Code, domain: &str) -> Self {
        let best = code.best();
        // Of two elements that say the same, the first.
        let fields = best.fields.iter().rev();
        Self {
            text: &code.text,
            aim: code.symbology.map(|symbology| symbology.aim()),
            symbology: code.symbology.map(|symbology| symbology.name()),
            best: One::new(best, domain),
            fields: fields.map(|field| (field.name.as_str(), field.value.as_str())).collect(),
            candidates: code.candidates.iter().map(|one| One::new(one, domain)).collect(),
        }
    }
}

impl<'a> One<'a> {
    fn new(candidate: &'a Candidate, domain: &str) -> Self {
        Self {
            kind: candidate.kind.name(),
            carrier: candidate.carrier.map(|carrier| carrier.name()),
            key: &candidate.key,
            check_ok: candidate.check_ok,
            uri: (candidate.kind != Kind::Control).then(|| candidate.uri(domain)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(codes: &[&str], input: &str, form: Form) -> Result<String, String> {
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
            assert_eq!(said(&[&label], "", Form::Text).as_deref(), Ok(expected));
            assert_eq!(said(&[], &format!("\n{label}\r\n\n"), Form::Text).as_deref(), Ok(expected));
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
            let text = said(&[code], "", Form::Text).unwrap();
            assert!(text.contains(expected), "{text}");
        }
        assert_eq!(
            said(&["1", " \r"], "", Form::Text),
            Err("code 2: nothing in it can be printed".to_owned())
        );
    }

    #[test]
    fn json_has_the_best_and_all_candidates() {
        let json = said(&["00106141412345678908", "-"], "VANCTL:UNDO", Form::Json).unwrap();
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
