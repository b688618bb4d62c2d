//! PostgreSQL's rules for identifiers: unquoted names fold to lower case, quoted ones stay.

/// Folds an identifier the way PostgreSQL does: ASCII letters to lower case when it was not quoted.
///
/// PostgreSQL 15, section 4.1.1, folds in the server's locale; only ASCII is folded here, which is
/// what a UTF-8 database with the C locale does.
pub fn fold(name: &str, is_quoted: bool) -> String {
    if is_quoted { name.to_owned() } else { name.to_ascii_lowercase() }
}

/// Quotes an identifier when PostgreSQL would need it (`quote_ident`), doubling inner quotes.
pub fn quote(name: &str) -> String {
    if KEYWORDS.binary_search(&name).is_ok() { quoted(name) } else { quote_symbols(name) }
}

/// The same for a name that stands where no word of the grammar may: in access privileges.
pub fn quote_symbols(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_plain { name.to_owned() } else { quoted(name) }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The words that name nothing everywhere unless they are quoted, sorted: those of PostgreSQL 15's `pg_get_keywords()` that are
/// reserved, or stand for types and functions only, or for columns only.
const KEYWORDS: [&str; 151] = [
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

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
        for (name, quoted) in
            [("order", "\"order\""), ("between", "\"between\""), ("left", "\"left\""), ("name", "name")]
        {
            assert_eq!(quote(name), quoted);
        }
        assert!(KEYWORDS.is_sorted());
    }
}
