//! Records of a CSV text (RFC 4180) with `,` or `;` as separator, numbered by the line that an editor
//! shows.

use csv::{ReaderBuilder, StringRecord};

use crate::http::FieldError;

/// Iterator over non-empty records.
#[derive(Debug)]
pub(super) struct CsvReader<'a> {
    text: &'a str,
    records: csv::Reader<&'a [u8]>,
    line_number: usize,
}

impl<'a> CsvReader<'a> {
    /// Creates a reader. Skips a byte order mark; the more frequent separator of the first line
    /// applies to all lines.
    pub(super) fn new(text: &'a str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let first = text.lines().next().unwrap_or_default();
        let count = |part: char| first.matches(part).count();
        let separator = if count(';') > count(',') { b';' } else { b',' };
        let records = ReaderBuilder::new()
            .delimiter(separator)
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        Self { text, records, line_number: 1 }
    }

    /// Returns the current position in the text, bytes.
    fn offset(&self) -> usize {
        usize::try_from(self.records.position().byte()).unwrap_or(self.text.len())
    }
}

impl Iterator for CsvReader<'_> {
    type Item = Result<(usize, Vec<String>), FieldError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let begin = self.offset();
            let mut record = StringRecord::new();
            if !self.records.read_record(&mut record).ok()? {
                return None;
            }
            let raw = &self.text[begin..self.offset()];
            let line = raw.trim_start_matches(['\r', '\n']);
            let number = self.line_number + raw[..raw.len() - line.len()].matches('\n').count();
            self.line_number += raw.matches('\n').count();
            // The library accepts a quote that is not closed, up to the end of the text.
            if !line.matches('"').count().is_multiple_of(2) {
                return Some(Err(FieldError {
                    place: format!("line {number}"),
                    value: "an unclosed quote".to_owned(),
                    remedy: "put \" around the whole field, and write \"\" for a quote inside it"
                        .to_owned(),
                }));
            }
            if record.iter().any(|field| !field.trim().is_empty()) {
                return Some(Ok((number, record.iter().map(str::to_owned).collect())));
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
        assert_eq!(lines("a\nb\"\nc\n\"z"), [line(1, &["a"]), None, line(3, &["c"]), None]);
        assert_eq!(lines("a\n\"x\"y\n\r\nb"), [line(1, &["a"]), line(2, &["xy"]), line(4, &["b"])]);
        assert_eq!(lines("a\n\"x\nb"), [line(1, &["a"]), None], "the quote takes the rest");
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
