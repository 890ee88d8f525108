//! CSV reader (RFC 4180) with `,` or `;` as separator. Records are numbered by the line that an
//! editor shows.

use crate::http::FieldError;

/// Iterator over non-empty records.
#[derive(Debug)]
pub(super) struct CsvReader<'a> {
    rest: &'a str,
    separator: char,
    line_number: usize,
}

impl<'a> CsvReader<'a> {
    /// Creates a reader. Skips a byte order mark; the more frequent separator of the first line
    /// applies to all lines.
    pub(super) fn new(text: &'a str) -> Self {
        let rest = text.strip_prefix('\u{feff}').unwrap_or(text);
        let first = rest.lines().next().unwrap_or_default();
        let count = |part: char| first.matches(part).count();
        let separator = if count(';') > count(',') { ';' } else { ',' };
        Self { rest, separator, line_number: 1 }
    }

    /// Reads the next field and its terminator: separator, line end or end of input. `None` if a
    /// quote is not closed or is followed by other text.
    fn next_field(&mut self) -> Option<(String, char)> {
        let mut field = String::new();
        if let Some(mut rest) = self.rest.strip_prefix('"') {
            loop {
                let (text, behind) = rest.split_once('"')?;
                field.push_str(text);
                self.line_number += text.matches('\n').count();
                match behind.strip_prefix('"') {
                    Some(behind) => {
                        field.push('"');
                        rest = behind;
                    }
                    None => {
                        self.rest = behind;
                        break;
                    }
                }
            }
            let end = self.rest.strip_prefix('\r').unwrap_or(self.rest).chars().next();
            if end.is_some_and(|end| end != '\n' && end != self.separator) {
                return None;
            }
        }
        let at = self.rest.find([self.separator, '\n']).unwrap_or(self.rest.len());
        field.push_str(self.rest[..at].trim_end_matches('\r'));
        let end = self.rest[at..].chars().next();
        self.rest = self.rest.get(at + 1..).unwrap_or_default();
        Some((field, end.unwrap_or('\n')))
    }

    fn skip_line(&mut self) {
        self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
    }
}

impl Iterator for CsvReader<'_> {
    type Item = Result<(usize, Vec<String>), FieldError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let (number, mut fields) = (self.line_number, Vec::new());
            loop {
                let Some((field, end)) = self.next_field() else {
                    self.skip_line();
                    self.line_number += 1;
                    return Some(Err(FieldError {
                        place: format!("line {number}"),
                        value: "an unclosed quote".to_owned(),
                        remedy:
                            "put \" around the whole field, and write \"\" for a quote inside it"
                                .to_owned(),
                    }));
                };
                fields.push(field);
                if end == '\n' {
                    break;
                }
            }
            self.line_number += 1;
            if fields.iter().any(|field| !field.trim().is_empty()) {
                return Some(Ok((number, fields)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(text: &str) -> Vec<Option<(usize, Vec<String>)>> {
        CsvReader::new(text).map(Result::ok).collect()
    }

    fn line(number: usize, fields: &[&str]) -> Option<(usize, Vec<String>)> {
        Some((number, fields.iter().map(|field| (*field).to_owned()).collect()))
    }

    #[test]
    fn fields_are_read_as_they_were_written() {
        assert_eq!(
            lines("a,b\r\n\"x, \"\"y\"\"\n\",2\n\n ,\n3,\"\"\n"),
            [line(1, &["a", "b"]), line(2, &["x, \"y\"\n", "2"]), line(6, &["3", ""])]
        );
        assert_eq!(lines("a;b\n1,5;2"), [line(1, &["a", "b"]), line(2, &["1,5", "2"])]);
        assert_eq!(lines("a\n\"x\"y\nb\n\"z"), [line(1, &["a"]), None, line(3, &["b"]), None]);
        assert_eq!(lines("a\n\"x\"\r\n"), [line(1, &["a"]), line(2, &["x"])]);
        assert_eq!(lines(""), []);
    }

    proptest! {
        #[test]
        fn whatever_the_text_it_ends(text in "[a,;\"\r\n\u{feff}ü]{0,60}") {
            prop_assert!(CsvReader::new(&text).count() <= 61);
        }
    }
}
