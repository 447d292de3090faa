//! COPY … TO STDOUT: its options, and rows in its text, CSV and binary formats.

use arrow::{array::ArrayRef, error::ArrowError};
use bytes::{BufMut as _, BytesMut};
use datafusion::sql::sqlparser::ast::{CopyLegacyCsvOption, CopyLegacyOption, CopyOption};

use super::{
    error::PgError,
    values::{Writer, sized},
};

/// What a binary file begins with: the signature, no flags, no extension.
const BINARY_HEAD: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CopyFormat {
    Text,
    Csv,
    Binary,
}

/// The options of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CopyOptions {
    format: CopyFormat,
    header: bool,
    delimiter: u8,
    null: String,
    quote: u8,
    escape: u8,
    /// Columns whose values are always quoted.
    force_quote: Vec<String>,
    force_quote_all: bool,
}

impl CopyOptions {
    pub(super) fn new(
        options: &[CopyOption],
        legacy: &[CopyLegacyOption],
    ) -> Result<Self, PgError> {
        let mut chosen = Chosen::default();
        options.iter().try_for_each(|option| chosen.option(option))?;
        legacy.iter().try_for_each(|option| chosen.legacy(option))?;
        chosen.finish()
    }

    pub(super) fn is_binary(&self) -> bool {
        self.format == CopyFormat::Binary
    }

    /// What comes before the first row.
    pub(super) fn head(&self, names: &[&str]) -> Vec<u8> {
        let mut out = BytesMut::new();
        if self.format == CopyFormat::Binary {
            out.extend_from_slice(BINARY_HEAD);
        } else if self.header {
            for (index, name) in names.iter().enumerate() {
                self.delimit(index, &mut out);
                self.field(name.as_bytes(), false, &mut out);
            }
            out.put_u8(b'\n');
        }
        out.to_vec()
    }

    /// What comes after the last.
    pub(super) fn tail(&self) -> &'static [u8] {
        if self.format == CopyFormat::Binary { &[0xff, 0xff] } else { &[] }
    }

    /// A row.
    pub(super) fn row(
        &self,
        columns: &[(&Writer, &str, ArrayRef)],
        row: usize,
        out: &mut BytesMut,
    ) -> Result<(), ArrowError> {
        if self.format == CopyFormat::Binary {
            out.put_i16(i16::try_from(columns.len()).unwrap_or(i16::MAX));
            for (writer, _, array) in columns {
                sized(out, array.is_null(row), |out| writer.binary(array, row, out))?;
            }
            return Ok(());
        }
        let mut value = BytesMut::new();
        for (index, (writer, name, array)) in columns.iter().enumerate() {
            self.delimit(index, out);
            if array.is_null(row) {
                out.extend_from_slice(self.null.as_bytes());
                continue;
            }
            value.clear();
            writer.text(array, row, &mut value)?;
            self.field(&value, self.force_quote_all || self.forces(name), out);
        }
        out.put_u8(b'\n');
        Ok(())
    }

    fn forces(&self, name: &str) -> bool {
        self.force_quote.iter().any(|forced| forced == name)
    }

    fn delimit(&self, index: usize, out: &mut BytesMut) {
        if index > 0 {
            out.put_u8(self.delimiter);
        }
    }

    fn field(&self, value: &[u8], force: bool, out: &mut BytesMut) {
        match self.format {
            CopyFormat::Csv => self.csv_field(value, force, out),
            _ => self.text_field(value, out),
        }
    }

    fn text_field(&self, value: &[u8], out: &mut BytesMut) {
        for byte in value {
            let escaped = match byte {
                8 => b'b',
                9 => b't',
                10 => b'n',
                11 => b'v',
                12 => b'f',
                13 => b'r',
                b'\\' => b'\\',
                byte if *byte == self.delimiter => *byte,
                byte => {
                    out.put_u8(*byte);
                    continue;
                }
            };
            out.put_u8(b'\\');
            out.put_u8(escaped);
        }
    }

    fn csv_field(&self, value: &[u8], force: bool, out: &mut BytesMut) {
        let is_special =
            |byte: &u8| *byte == self.delimiter || *byte == self.quote || matches!(byte, 10 | 13);
        let must = force
            || value == self.null.as_bytes()
            || value == b"\\."
            || value.iter().any(is_special);
        if !must {
            out.extend_from_slice(value);
            return;
        }
        out.put_u8(self.quote);
        for byte in value {
            if *byte == self.quote || *byte == self.escape {
                out.put_u8(self.escape);
            }
            out.put_u8(*byte);
        }
        out.put_u8(self.quote);
    }
}

/// Options as they were given.
#[derive(Debug, Default)]
struct Chosen {
    format: Option<CopyFormat>,
    header: bool,
    delimiter: Option<char>,
    null: Option<String>,
    quote: Option<char>,
    escape: Option<char>,
    force_quote: Vec<String>,
}

impl Chosen {
    fn option(&mut self, option: &CopyOption) -> Result<(), PgError> {
        match option {
            CopyOption::Format(name) => {
                self.format = Some(match name.value.to_ascii_lowercase().as_str() {
                    "text" => CopyFormat::Text,
                    "csv" => CopyFormat::Csv,
                    "binary" => CopyFormat::Binary,
                    other => {
                        return Err(invalid(format!("COPY format \"{other}\" not recognized")));
                    }
                });
            }
            CopyOption::Header(header) => self.header = *header,
            CopyOption::Delimiter(c) => self.delimiter = Some(*c),
            CopyOption::Null(text) => self.null = Some(text.clone()),
            CopyOption::Quote(c) => self.quote = Some(*c),
            CopyOption::Escape(c) => self.escape = Some(*c),
            CopyOption::ForceQuote(names) => self.force(names.iter().map(|n| n.value.clone())),
            CopyOption::Encoding(name) if name.to_ascii_lowercase().starts_with("utf") => {}
            other => return Err(unsupported(other)),
        }
        Ok(())
    }

    fn legacy(&mut self, option: &CopyLegacyOption) -> Result<(), PgError> {
        match option {
            CopyLegacyOption::Binary => self.format = Some(CopyFormat::Binary),
            CopyLegacyOption::Delimiter(c) => self.delimiter = Some(*c),
            CopyLegacyOption::Null(text) => self.null = Some(text.clone()),
            CopyLegacyOption::Header => self.header = true,
            CopyLegacyOption::Csv(options) => {
                self.format = Some(CopyFormat::Csv);
                for option in options {
                    match option {
                        CopyLegacyCsvOption::Header => self.header = true,
                        CopyLegacyCsvOption::Quote(c) => self.quote = Some(*c),
                        CopyLegacyCsvOption::Escape(c) => self.escape = Some(*c),
                        CopyLegacyCsvOption::ForceQuote(names) => {
                            self.force(names.iter().map(|name| name.value.clone()));
                        }
                        other @ CopyLegacyCsvOption::ForceNotNull(_) => {
                            return Err(unsupported(other));
                        }
                    }
                }
            }
            other => return Err(unsupported(other)),
        }
        Ok(())
    }

    fn force(&mut self, names: impl Iterator<Item = String>) {
        self.force_quote = names.collect();
    }

    fn finish(self) -> Result<CopyOptions, PgError> {
        let format = self.format.unwrap_or(CopyFormat::Text);
        let (delimiter, null) = match format {
            CopyFormat::Csv => (',', ""),
            CopyFormat::Text | CopyFormat::Binary => ('\t', "\\N"),
        };
        let quote = self.quote.unwrap_or('"');
        let is_csv_only = self.quote.is_some() || self.escape.is_some();
        if (is_csv_only || !self.force_quote.is_empty()) && format != CopyFormat::Csv {
            return Err(PgError::new("0A000", "COPY quote is available only in CSV mode"));
        }
        if format == CopyFormat::Binary
            && (self.header || self.delimiter.is_some() || self.null.is_some())
        {
            let message = "cannot specify DELIMITER, NULL or HEADER in BINARY mode";
            return Err(PgError::new("42601", message));
        }
        Ok(CopyOptions {
            format,
            header: self.header,
            delimiter: byte("delimiter", self.delimiter.unwrap_or(delimiter))?,
            null: self.null.unwrap_or_else(|| null.to_owned()),
            quote: byte("quote", quote)?,
            escape: byte("escape", self.escape.unwrap_or(quote))?,
            force_quote_all: self.force_quote.iter().any(|name| name == "*"),
            force_quote: self.force_quote,
        })
    }
}

fn byte(what: &str, c: char) -> Result<u8, PgError> {
    let byte = u8::try_from(c).ok().filter(u8::is_ascii).filter(|byte| !matches!(byte, 10 | 13));
    byte.ok_or_else(|| invalid(format!("COPY {what} must be a single one-byte character")))
}

fn invalid(message: String) -> PgError {
    PgError::new("22023", message)
}

fn unsupported(option: &dyn std::fmt::Display) -> PgError {
    PgError::new("0A000", format!("COPY TO STDOUT does not support {option}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::{
        array::{Int64Array, StringArray},
        datatypes::{DataType, Field},
    };

    use super::*;
    use crate::pg::{
        command::{self, Command},
        rewrite::Rewriter,
    };

    fn options(clause: &str) -> Result<CopyOptions, PgError> {
        let sql = format!("copy (select 1) to stdout {clause}");
        match command::parse(&sql, &Rewriter::default())?.remove(0) {
            Command::Copy { options, .. } => Ok(options),
            other => panic!("{other:?}"),
        }
    }

    fn file(clause: &str) -> Vec<u8> {
        let options = options(clause).unwrap();
        let fields = [("n", DataType::Int64), ("s", DataType::Utf8)]
            .map(|(name, data_type)| Arc::new(Field::new(name, data_type, true)));
        let arrays: [ArrayRef; 2] = [
            Arc::new(Int64Array::from(vec![Some(1), None])),
            Arc::new(StringArray::from(vec!["a\t\"b\"", ""])),
        ];
        let writers = fields.each_ref().map(|field| Writer::new(field, None));
        let columns: Vec<_> = writers
            .iter()
            .zip(["n", "s"])
            .zip(arrays)
            .map(|((writer, name), array)| (writer, name, array))
            .collect();
        let mut out = BytesMut::from(&options.head(&["n", "s"])[..]);
        for row in 0..2 {
            options.row(&columns, row, &mut out).unwrap();
        }
        out.extend_from_slice(options.tail());
        out.to_vec()
    }

    fn text(clause: &str) -> String {
        String::from_utf8(file(clause)).unwrap()
    }

    #[test]
    fn files_are_as_postgres_writes_them() {
        assert_eq!(text(""), "1\ta\\t\"b\"\n\\N\t\n");
        assert_eq!(text("(delimiter '|', null '-')"), "1|a\\t\"b\"\n-|\n");
        assert_eq!(text("with csv header"), "n,s\n1,\"a\t\"\"b\"\"\"\n,\"\"\n");
        assert_eq!(
            text("(format csv, header, force_quote (n))"),
            "n,s\n\"1\",\"a\t\"\"b\"\"\"\n,\"\"\n"
        );
        let binary = file("(format binary)");
        let mut expected = BINARY_HEAD.to_vec();
        expected.extend([0, 2, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5]);
        expected.extend(b"a\t\"b\"");
        expected.extend([0, 2, 255, 255, 255, 255, 0, 0, 0, 0, 255, 255]);
        assert_eq!(binary, expected);
    }

    #[test]
    fn options_that_do_not_fit_are_refused() {
        for clause in [
            "(format parquet)",
            "(format binary, header)",
            "(quote '|')",
            "(format csv, delimiter 'ä')",
            "(format csv, freeze)",
            "(encoding 'LATIN1')",
        ] {
            options(clause).unwrap_err();
        }
        assert_eq!(options("(format \"binary\")").unwrap().format, CopyFormat::Binary);
        assert_eq!(options("binary").unwrap().format, CopyFormat::Binary);
    }
}
