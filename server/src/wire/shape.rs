//! Whether a message's body holds what its type says, as PostgreSQL's protocol lays it out, neither more nor
//! less. The codec trusts counts and lengths, so none reaches it that does not fit.
//!
//! Formats: <https://www.postgresql.org/docs/15/protocol-message-formats.html>.

/// Whether `body` is that of a message of type `tag` from a client.
pub fn fits(tag: u8, body: &[u8]) -> bool {
    let mut rest = Rest(body);
    let is_whole = match tag {
        b'Q' | b'f' => rest.text(),
        b'P' => rest.text() && rest.text() && rest.items(4),
        b'B' => rest.text() && rest.text() && rest.items(2) && rest.values() && rest.items(2),
        b'D' | b'C' => rest.bytes(1) && rest.text(),
        b'E' => rest.text() && rest.bytes(4),
        b'S' | b'H' | b'X' | b'c' => true,
        b'd' | b'p' => return true,
        _ => return false,
    };
    is_whole && rest.0.is_empty()
}

/// Whether `body` is a first SASL message: the mechanism, and a value that may be absent.
pub fn is_first_sasl_message(body: &[u8]) -> bool {
    let mut rest = Rest(body);
    rest.text() && rest.value() && rest.0.is_empty()
}

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn bytes(&mut self, count: usize) -> bool {
        match self.0.get(count..) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// Up to the zero that ends it.
    fn text(&mut self) -> bool {
        self.0.iter().position(|byte| *byte == 0).is_some_and(|end| self.bytes(end + 1))
    }

    fn count(&mut self) -> Option<usize> {
        let (count, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(usize::from(u16::from_be_bytes(*count)))
    }

    /// A count, and as many items of `size` bytes.
    fn items(&mut self, size: usize) -> bool {
        self.count().is_some_and(|count| self.bytes(count * size))
    }

    /// A length, and as many bytes; -1 is null.
    fn value(&mut self) -> bool {
        let Some((length, rest)) = self.0.split_first_chunk::<4>() else { return false };
        self.0 = rest;
        match i32::from_be_bytes(*length) {
            -1 => true,
            length => usize::try_from(length).is_ok_and(|length| self.bytes(length)),
        }
    }

    fn values(&mut self) -> bool {
        self.count().is_some_and(|count| (0..count).all(|_| self.value()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_lengths_must_fit() {
        assert!(fits(b'Q', b"select 1\0"));
        assert!(!fits(b'Q', b"select 1"));
        assert!(!fits(b'Q', b"select 1\0x"));
        assert!(fits(b'P', b"\0select $1\0\0\x01\0\0\0\x17"));
        assert!(!fits(b'P', b"\0select $1\0\0\x02\0\0\0\x17"));
        assert!(fits(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xff\0\0"));
        assert!(!fits(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"));
        assert!(!fits(b'B', b"\0\0\0\0\0\x01\0\0\0\x09ab\0\0"));
        assert!(is_first_sasl_message(b"SCRAM-SHA-256\0\0\0\0\x02n,"));
        assert!(!is_first_sasl_message(b"SCRAM-SHA-256\0\0\0\0\x09n,"));
    }
}
