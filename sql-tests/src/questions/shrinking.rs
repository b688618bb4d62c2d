//! The smallest form of a statement about which two servers differ: parts are left out while they still do.

/// So many statements are tried at most.
const TRIES: usize = 400;

/// `sql` without the parts that `differs` does not need.
pub async fn smallest(sql: &str, differs: impl AsyncFn(&str) -> bool) -> String {
    let mut parts = parts_of(sql);
    let mut tries = 0;
    let mut size = parts.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at + size <= parts.len() && tries < TRIES {
            let mut fewer = parts.clone();
            fewer.drain(at..at + size);
            tries += 1;
            if differs(&fewer.concat()).await {
                parts = fewer;
            } else {
                at += 1;
            }
        }
        size = if size > 8 { size / 2 } else { size - 1 };
    }
    parts.concat()
}

/// Words, numbers, texts in quotes and signs, each with the blanks behind it.
fn parts_of(sql: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut in_quotes = false;
    let mut is_word = false;
    for letter in sql.chars() {
        let goes_on = in_quotes
            || (is_word && (letter.is_alphanumeric() || letter == '_'))
            || letter == ' '
            || (letter == '\'' && parts.last().is_some_and(|part| part.ends_with('\'')));
        match parts.last_mut() {
            Some(part) if goes_on => part.push(letter),
            _ => parts.push(letter.to_string()),
        }
        in_quotes ^= letter == '\'';
        is_word = letter.is_alphanumeric() || letter == '_';
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::{parts_of, smallest};

    #[test]
    fn parts_are_words_and_signs() {
        let parts = ["select ", "t", ".", "a", ", ", "'a b''c' ", "from ", "t"];
        assert_eq!(parts_of(&parts.concat()), parts);
    }

    #[tokio::test]
    async fn what_is_not_needed_is_left_out() {
        let smallest = smallest("select a, b from t where a = 1 order by b", async |sql| {
            sql.starts_with("select ") && sql.contains("where a = 1")
        });
        assert_eq!(smallest.await, "select where a = 1 ");
    }
}
