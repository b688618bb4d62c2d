//! PostgreSQL's rules for identifiers: unquoted names fold to lower case, quoted ones stay.

/// Folds an identifier the way PostgreSQL does: ASCII letters to lower case when it was not quoted.
///
/// PostgreSQL 15, section 4.1.1, folds in the server's locale; only ASCII is folded here, which is
/// what a UTF-8 database with the C locale does.
pub fn fold(name: &str, is_quoted: bool) -> String {
    if is_quoted { name.to_owned() } else { name.to_ascii_lowercase() }
}

/// Quotes an identifier when PostgreSQL would need it, doubling inner quotes.
pub fn quote(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unquoted_names_fold_and_quoted_ones_stay() {
        assert_eq!(fold("LineItem", false), "lineitem");
        assert_eq!(fold("LineItem", true), "LineItem");
    }

    #[test]
    fn only_names_that_need_quotes_get_them() {
        assert_eq!(quote("lineitem"), "lineitem");
        assert_eq!(quote("Line Item"), "\"Line Item\"");
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote("1st"), "\"1st\"");
    }
}
