//! How deep and how wide a Parquet file says that it is, read from the bytes of its footer before anything is made of
//! them: what decodes a footer recurses as deep as its columns lie within each other, and 80 kB can say 10,000 levels.
//!
//! A footer is Thrift's compact protocol; its schema is a list of elements, depth first, each with the number of its
//! children (apache/parquet-format, `parquet.thrift`; apache/thrift, `thrift-compact-protocol.md`).

/// Columns within each other. What is sent between processes may nest 64 tables of flatbuffers, two for each level.
const DEPTH_MAX: usize = 24;
/// Columns of a file, those within others included: a plan over 10,000 takes 10 s to make. PostgreSQL's tables have 1,600
/// at most.
const COLUMNS_MAX: usize = 4_000;

/// What follows the footer: its length, and the letters that every file ends with.
pub const TRAILER_BYTES: u64 = 8;

/// The length of the footer, as the last bytes of a file tell it; `None` where they are none of a Parquet file.
pub fn footer_bytes(trailer: &[u8]) -> Option<u64> {
    let (length, magic) = trailer.split_first_chunk::<4>()?;
    (magic == b"PAR1").then(|| u64::from(u32::from_le_bytes(*length)))
}

/// Refuses a footer that says too much of columns. One that cannot be read is left to who decodes it: that fails.
pub fn check(footer: &[u8]) -> Result<(), String> {
    match children(footer) {
        None => Ok(()),
        Some(children) => check_children(&children),
    }
}

fn check_children(children: &[u32]) -> Result<(), String> {
    if children.len() > COLUMNS_MAX + 1 {
        return Err(format!("it has more than {COLUMNS_MAX} columns"));
    }
    let mut open: Vec<u32> = Vec::new();
    for count in children {
        while let Some(last) = open.last_mut() {
            if *last > 0 {
                *last -= 1;
                break;
            }
            open.pop();
        }
        if *count > 0 {
            open.push(*count);
        }
        // The first holds all others.
        if open.len() > DEPTH_MAX + 1 {
            return Err(format!("its columns lie more than {DEPTH_MAX} deep within each other"));
        }
    }
    Ok(())
}

/// The number of children of each element of the schema; no more of them than matter.
fn children(footer: &[u8]) -> Option<Vec<u32>> {
    const SCHEMA: i64 = 2;
    const CHILDREN: i64 = 5;
    let mut bytes = Bytes { rest: footer };
    let mut field = 0;
    loop {
        let kind = bytes.field(&mut field)?;
        if field != SCHEMA {
            bytes.skip(kind, 0)?;
            continue;
        }
        let (count, _) = bytes.list()?;
        let mut found = Vec::new();
        for _ in 0..count.min(COLUMNS_MAX as u64 + 2) {
            let (mut within, mut children) = (0, 0);
            loop {
                match bytes.field(&mut within)? {
                    STOP => break,
                    I32 if within == CHILDREN => children = u32::try_from(bytes.zigzag()?).unwrap_or(0),
                    kind => bytes.skip(kind, 0)?,
                }
            }
            found.push(children);
        }
        return Some(found);
    }
}

const STOP: u8 = 0;
const I32: u8 = 5;

struct Bytes<'a> {
    rest: &'a [u8],
}

impl Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn zigzag(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// The type of the next field of a struct, whose number is put into `field`.
    fn field(&mut self, field: &mut i64) -> Option<u8> {
        let header = self.byte()?;
        let kind = header & 0x0f;
        if kind != STOP {
            *field = match header >> 4 {
                0 => self.zigzag()?,
                delta => *field + i64::from(delta),
            };
        }
        Some(kind)
    }

    /// How many elements a list has, and their type.
    fn list(&mut self) -> Option<(u64, u8)> {
        let header = self.byte()?;
        let count = match header >> 4 {
            15 => self.varint()?,
            count => u64::from(count),
        };
        Some((count, header & 0x0f))
    }

    fn take(&mut self, count: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(count).ok()?..)?;
        Some(())
    }

    /// Passes over a value, which may hold others, `depth` of them around it.
    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        const WITHIN_MAX: usize = 16;
        if depth > WITHIN_MAX {
            return None;
        }
        match kind {
            // True and false, as fields; a byte of their own in lists.
            1 | 2 => Some(()),
            3 => self.byte().map(drop),
            4..=6 => self.varint().map(drop),
            7 => self.take(8),
            8 => self.varint().and_then(|length| self.take(length)),
            9 | 10 => {
                let (count, kind) = self.list()?;
                for _ in 0..count {
                    match kind {
                        1 | 2 => drop(self.byte()?),
                        kind => self.skip(kind, depth + 1)?,
                    }
                }
                Some(())
            }
            12 => {
                let mut field = 0;
                loop {
                    match self.field(&mut field)? {
                        STOP => return Some(()),
                        kind => self.skip(kind, depth + 1)?,
                    }
                }
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::RecordBatch;
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::parquet::arrow::ArrowWriter;

    use super::*;

    fn footer(fields: Vec<Field>) -> Vec<u8> {
        let schema = Arc::new(Schema::new(fields));
        let mut file = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut file, Arc::clone(&schema), None).expect("a writer");
        writer.write(&RecordBatch::new_empty(schema)).expect("written");
        writer.close().expect("closed");
        let end = file.len() - TRAILER_BYTES as usize;
        let length = footer_bytes(&file[end..]).expect("a Parquet file") as usize;
        file[end - length..end].to_vec()
    }

    fn nested(depth: usize) -> Field {
        (0..depth).fold(Field::new("x", DataType::Int32, true), |field, _| {
            Field::new_struct("x", vec![field], true)
        })
    }

    #[test]
    fn depth_and_width_are_read_from_the_bytes() {
        assert_eq!(children(&footer(vec![nested(0), nested(1)])), Some(vec![2, 0, 1, 0]));
        assert!(check(&footer(vec![nested(3), nested(20)])).is_ok());
        let deep = check(&footer(vec![nested(1), nested(40)])).expect_err("too deep");
        assert!(deep.contains("24 deep"), "{deep}");
        let column = |at: usize| Field::new(format!("c{at}"), DataType::Int32, true);
        assert!(check(&footer((0..COLUMNS_MAX).map(column).collect())).is_ok());
        let wide = check(&footer((0..COLUMNS_MAX + 1).map(column).collect())).expect_err("too wide");
        assert!(wide.contains("more than 4000"), "{wide}");
    }

    #[test]
    fn bytes_that_are_no_footer_end_the_look() {
        for bytes in [&[][..], &[0xff; 100], &[0x29, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0x19; 1000]] {
            assert!(check(bytes).is_ok());
        }
    }
}
