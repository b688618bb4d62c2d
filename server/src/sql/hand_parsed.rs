//! Statements that sqlparser does not read as PostgreSQL writes them: `FETCH`, `MOVE`, and grants of
//! roles to roles. Each is a handful of words.

use engine::{Error, Result};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::classify::{Command, Fetch, Membership, NamedColumns, RewriteTable};
use super::transactions;

/// The words of one statement.
pub(super) struct Words<'a> {
    tokens: std::iter::Peekable<std::slice::Iter<'a, TokenWithSpan>>,
}

impl<'a> Words<'a> {
    pub(super) fn new(tokens: &'a [TokenWithSpan]) -> Self {
        Self { tokens: tokens.iter().peekable() }
    }

    pub(super) fn peek(&mut self) -> Option<&'a Token> {
        while let Some(token) = self.tokens.peek() {
            if matches!(token.token, Token::Whitespace(_) | Token::EOF) {
                self.tokens.next();
            } else {
                return Some(&token.token);
            }
        }
        None
    }

    /// Takes the next word when it is `keyword`.
    pub(super) fn take(&mut self, keyword: &str) -> bool {
        let is_it = matches!(self.peek(), Some(Token::Word(word))
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(keyword));
        if is_it {
            self.tokens.next();
        }
        is_it
    }

    pub(super) fn take_comma(&mut self) -> bool {
        self.take_token(&Token::Comma)
    }

    /// Takes the next token when it is `token`.
    pub(super) fn take_token(&mut self, token: &Token) -> bool {
        let is_it = self.peek() == Some(token);
        if is_it {
            self.tokens.next();
        }
        is_it
    }

    /// Passes over the token that was looked at.
    pub(super) fn skip(&mut self) {
        self.tokens.next();
    }

    fn number(&mut self) -> Option<i64> {
        let sign = if self.peek() == Some(&Token::Minus) {
            self.tokens.next();
            -1
        } else {
            1
        };
        match self.peek() {
            Some(Token::Number(digits, _)) => {
                self.tokens.next();
                digits.parse::<i64>().ok().map(|number| sign * number)
            }
            _ => None,
        }
    }

    pub(super) fn name(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::Word(word)) => {
                self.tokens.next();
                Ok(catalog::identifier::fold(&word.value, word.quote_style.is_some()))
            }
            other => Err(unexpected(other)),
        }
    }

    pub(super) fn names(&mut self) -> Result<Vec<String>> {
        let mut names = vec![self.name()?];
        while self.take_comma() {
            names.push(self.name()?);
        }
        Ok(names)
    }

    pub(super) fn end(&mut self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            other => Err(unexpected(other)),
        }
    }
}

pub(super) fn unexpected(token: Option<&Token>) -> Error {
    let message = match token {
        Some(token) => format!("syntax error at or near \"{token}\""),
        None => "syntax error at end of input".to_owned(),
    };
    Error::Syntax { message, position: None }
}

/// The command in `tokens`, when it is one of those read here.
pub fn parse(tokens: &[TokenWithSpan]) -> Option<Result<Command>> {
    if let Some(step) = transactions::parse(tokens) {
        return Some(step.map(Command::Transaction));
    }
    let mut words = Words::new(tokens);
    if words.take("fetch") {
        return Some(fetch(words, false));
    }
    if words.take("move") {
        return Some(fetch(words, true));
    }
    if words.take("alter") && words.take("default") && words.take("privileges") {
        return Some(Err(refused("ALTER DEFAULT PRIVILEGES")));
    }
    let mut words = Words::new(tokens);
    if words.take("refresh") {
        if words.take("table") {
            return Some(refresh(words));
        }
        if words.take("locations") {
            return Some(words.end().map(|()| Command::RefreshLocations));
        }
        if words.take("materialized") && words.take("view") {
            words.take("concurrently");
            return Some(rewrite(words, tokens, true));
        }
    }
    let mut words = Words::new(tokens);
    if words.take("optimize") {
        words.take("table");
        return Some(rewrite(words, tokens, false));
    }
    if words.take("analyze") || words.take("analyse") {
        return Some(analyze(words));
    }
    if words.take("check") && words.take("layout") {
        return Some(check_layout(words));
    }
    let mut words = Words::new(tokens);
    if words.take("vacuum") {
        return Some(vacuum(words));
    }
    let mut words = Words::new(tokens);
    for verb in ["drop", "reassign"] {
        if words.take(verb) && words.take("owned") {
            let hint = "REVOKE what the role was granted";
            return Some(Err(refused(&format!("{} OWNED (instead, {hint})", verb.to_ascii_uppercase()))));
        }
        words = Words::new(tokens);
    }
    if let Some(command) = identity(Words::new(tokens)) {
        return Some(Ok(command));
    }
    let is_grant = words.take("grant");
    if (is_grant || words.take("revoke")) && !has_keyword(tokens, Keyword::ON) {
        return Some(membership(words, is_grant));
    }
    None
}

/// `SET [SESSION | LOCAL] SESSION AUTHORIZATION role` and `SET [SESSION | LOCAL] ROLE [TO | =] role`, the forms of which
/// sqlparser reads a part.
fn identity(mut words: Words<'_>) -> Option<Command> {
    if !words.take("set") {
        return None;
    }
    let is_local = words.take("local");
    let mut is_authorization = false;
    if words.take("session") {
        is_authorization =
            words.take("authorization") || (words.take("session") && words.take("authorization"));
    }
    let name = if is_authorization {
        "session_authorization"
    } else if words.take("role") {
        let _ = words.take("to") || words.take_token(&Token::Eq);
        "role"
    } else {
        return None;
    };
    let value = match words.peek()? {
        Token::SingleQuotedString(text) => Some(text.clone()),
        Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default") => None,
        Token::Word(word) => Some(catalog::identifier::fold(&word.value, word.quote_style.is_some())),
        _ => return None,
    };
    words.skip();
    words.end().ok()?;
    Some(Command::Set { name: name.to_owned(), value, is_local })
}

/// `[[database.]schema.]name`.
fn relation(words: &mut Words<'_>) -> Result<(Option<String>, String)> {
    let mut table = words.name()?;
    let mut schema = None;
    if words.take_token(&Token::Period) {
        schema = Some(std::mem::replace(&mut table, words.name()?));
    }
    if words.take_token(&Token::Period)
        && let Some(database) = schema.take()
    {
        schema = Some(std::mem::replace(&mut table, words.name()?));
        if database != catalog::DATABASE {
            return Err(refused(&format!("a reference to another database ({database})")));
        }
    }
    Ok((schema, table))
}

/// `REFRESH TABLE [schema.]name`.
fn refresh(mut words: Words<'_>) -> Result<Command> {
    let (schema, table) = relation(&mut words)?;
    words.end()?;
    Ok(Command::RefreshTable { schema, table })
}

/// `OPTIMIZE [TABLE] name` and `REFRESH MATERIALIZED VIEW [CONCURRENTLY] name [WITH DATA]`.
fn rewrite(mut words: Words<'_>, tokens: &[TokenWithSpan], is_refresh: bool) -> Result<Command> {
    let (schema, table) = relation(&mut words)?;
    if is_refresh && words.take("with") && !words.take("data") {
        return Err(refused("REFRESH MATERIALIZED VIEW … WITH NO DATA"));
    }
    words.end()?;
    let text: String = tokens.iter().map(|token| token.token.to_string()).collect();
    let text = std::sync::Arc::from(text.trim());
    Ok(Command::Rewrite(RewriteTable { schema, table, is_refresh, text }))
}

/// `ANALYZE [(option, …)] [VERBOSE] [table, …]`.
fn analyze(mut words: Words<'_>) -> Result<Command> {
    const OPTIONS: &[&str] = &["verbose", "skip_locked"];
    options(&mut words, "ANALYZE", OPTIONS)?;
    words.take("verbose");
    Ok(Command::Analyze(relations(words)?))
}

/// `name [(column, …)], …` to the end.
fn relations(mut words: Words<'_>) -> Result<Vec<NamedColumns>> {
    let mut tables = Vec::new();
    while words.peek().is_some() {
        let (schema, table) = relation(&mut words)?;
        tables.push(NamedColumns { schema, table, columns: columns(&mut words)? });
        if !words.take_comma() {
            break;
        }
    }
    words.end()?;
    Ok(tables)
}

/// `CHECK LAYOUT [OF] [schema.]name`.
fn check_layout(mut words: Words<'_>) -> Result<Command> {
    words.take("of");
    let (schema, table) = relation(&mut words)?;
    words.end()?;
    Ok(Command::CheckLayout { schema, table })
}

/// `(column, …)` behind a relation: all are looked at in any case.
fn columns(words: &mut Words<'_>) -> Result<Vec<String>> {
    if !words.take_token(&Token::LParen) {
        return Ok(Vec::new());
    }
    let names = words.names()?;
    match words.take_token(&Token::RParen) {
        true => Ok(names),
        false => Err(unexpected(words.peek())),
    }
}

/// `(option [value], …)`: those that are on. They say nothing here, but for ANALYZE.
fn options(words: &mut Words<'_>, statement: &str, known: &[&str]) -> Result<Vec<String>> {
    let mut on = Vec::new();
    if !words.take_token(&Token::LParen) {
        return Ok(on);
    }
    loop {
        let name = words.name()?;
        if !known.contains(&name.as_str()) {
            let message = format!("unrecognized {statement} option \"{name}\"");
            return Err(Error::Syntax { message, position: None });
        }
        let value = match words.peek() {
            None | Some(Token::Comma | Token::RParen) => None,
            Some(token) => {
                words.skip();
                Some(token.to_string().trim_matches('\'').to_ascii_lowercase())
            }
        };
        match value.as_deref() {
            None | Some("true" | "on" | "1") => on.push(name),
            Some("false" | "off" | "0") => {}
            Some(_) if matches!(name.as_str(), "parallel" | "index_cleanup") => {}
            Some(_) => {
                let message = format!("{name} requires a Boolean value");
                return Err(Error::Syntax { message, position: None });
            }
        }
        if !words.take_comma() {
            break;
        }
    }
    match words.take_token(&Token::RParen) {
        true => Ok(on),
        false => Err(unexpected(words.peek())),
    }
}

/// `VACUUM [(option, …)] [FULL] [FREEZE] [VERBOSE] [ANALYZE] [table, …]`.
fn vacuum(mut words: Words<'_>) -> Result<Command> {
    const OPTIONS: &[&str] = &[
        "full",
        "freeze",
        "verbose",
        "analyze",
        "disable_page_skipping",
        "skip_locked",
        "index_cleanup",
        "process_toast",
        "truncate",
        "parallel",
    ];
    let on = options(&mut words, "VACUUM", OPTIONS)?;
    let mut analyzes = on.iter().any(|option| option == "analyze");
    for word in ["full", "freeze", "verbose", "analyze"] {
        let is_there = words.take(word);
        analyzes |= is_there && word == "analyze";
    }
    let tables = relations(words)?;
    if !analyzes && tables.iter().any(|table| !table.columns.is_empty()) {
        return Err(Error::NotSupported {
            message: "ANALYZE option must be specified when a column list is provided".to_owned(),
        });
    }
    Ok(Command::Vacuum { tables, analyzes })
}

fn refused(what: &str) -> Error {
    Error::NotSupported { message: format!("{what} is not supported") }
}

fn has_keyword(tokens: &[TokenWithSpan], keyword: Keyword) -> bool {
    tokens.iter().any(|token| matches!(&token.token, Token::Word(word) if word.keyword == keyword))
}

/// `FETCH [NEXT | n | ALL | FORWARD [n | ALL]] [FROM | IN] name`; directions that go back are refused.
fn fetch(mut words: Words<'_>, is_move: bool) -> Result<Command> {
    let backwards = || Err(Error::NotSupported { message: "cursors can only scan forward".into() });
    let mut count = Some(1);
    for word in ["prior", "first", "last", "absolute", "relative", "backward"] {
        if words.take(word) {
            return backwards();
        }
    }
    if words.take("all") {
        count = None;
    } else if words.take("forward") {
        if words.take("all") {
            count = None;
        } else if let Some(number) = words.number() {
            count = Some(number);
        }
    } else if let Some(number) = words.number() {
        count = Some(number);
    } else {
        words.take("next");
    }
    let _ = words.take("from") || words.take("in");
    let cursor = words.name()?;
    words.end()?;
    let count = match count {
        Some(number) if number < 0 => return backwards(),
        Some(number) => Some(number as u64),
        None => None,
    };
    Ok(Command::Fetch(Fetch { cursor, count, is_move }))
}

/// `GRANT role, … TO member, … [WITH ADMIN OPTION] [GRANTED BY role]` and
/// `REVOKE [ADMIN OPTION FOR] role, … FROM member, … [GRANTED BY role] [CASCADE | RESTRICT]`.
fn membership(mut words: Words<'_>, is_grant: bool) -> Result<Command> {
    let mut is_admin = false;
    if !is_grant && words.take("admin") {
        expect(&mut words, &["option", "for"])?;
        is_admin = true;
    }
    let roles = words.names()?;
    expect(&mut words, &[if is_grant { "to" } else { "from" }])?;
    let members = words.names()?;
    if is_grant && words.take("with") {
        expect(&mut words, &["admin", "option"])?;
        is_admin = true;
    }
    let mut granted_by = None;
    if words.take("granted") {
        expect(&mut words, &["by"])?;
        granted_by = Some(words.name()?);
    }
    // Nothing hangs on a membership in PostgreSQL 15 that either word would be about.
    let _ = !is_grant && (words.take("cascade") || words.take("restrict"));
    words.end()?;
    Ok(Command::Membership(Membership { is_grant, roles, members, is_admin, granted_by }))
}

/// Takes `keywords`, one after the other.
fn expect(words: &mut Words<'_>, keywords: &[&str]) -> Result<()> {
    keywords.iter().try_for_each(|keyword| match words.take(keyword) {
        true => Ok(()),
        false => Err(unexpected(words.peek())),
    })
}

/// Takes `GRANT OPTION FOR` out of a REVOKE, which sqlparser does not read. True when it was there.
pub(super) fn take_option_for(tokens: &mut Vec<TokenWithSpan>) -> bool {
    let is_space = |token: &TokenWithSpan| matches!(token.token, Token::Whitespace(_));
    let words: Vec<usize> = (0..tokens.len()).filter(|at| !is_space(&tokens[*at])).take(4).collect();
    let is = |place: usize, keyword: &str| {
        words.get(place).is_some_and(|at| {
            matches!(&tokens[*at].token, Token::Word(word)
                if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(keyword))
        })
    };
    let is_there = ["revoke", "grant", "option", "for"].iter().enumerate().all(|(at, word)| is(at, word));
    if is_there {
        tokens.drain(words[1]..=words[3]);
    }
    is_there
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlparser::dialect::PostgreSqlDialect;
    use sqlparser::tokenizer::Tokenizer;

    fn parsed(sql: &str) -> Option<Result<Command>> {
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().expect("tokens");
        parse(&tokens)
    }

    #[test]
    fn fetches_in_every_spelling() {
        for (sql, expected) in [
            ("fetch c", Some(1)),
            ("FETCH 100 IN \"c\"", Some(100)),
            ("fetch forward 5 from c", Some(5)),
            ("fetch all in c", None),
            ("fetch forward all from c", None),
            ("fetch next c", Some(1)),
        ] {
            let Some(Ok(Command::Fetch(fetch))) = parsed(sql) else { panic!("{sql}") };
            assert_eq!((fetch.cursor.as_str(), fetch.count, fetch.is_move), ("c", expected, false), "{sql}");
        }
        assert!(matches!(parsed("move 3 in c"), Some(Ok(Command::Fetch(Fetch { is_move: true, .. })))));
        let back = parsed("fetch backward 1 from c").expect("read here").expect_err("forward only");
        assert_eq!(back.sqlstate().as_str(), "0A000");
    }

    #[test]
    fn identities_are_set_in_every_spelling() {
        for (sql, wanted) in [
            ("set role ann", ("role", Some("ann"), false)),
            ("SET LOCAL ROLE \"Ann\"", ("role", Some("Ann"), true)),
            ("set session role = 'ann'", ("role", Some("ann"), false)),
            ("set role to none", ("role", Some("none"), false)),
            ("set session authorization default", ("session_authorization", None, false)),
            ("set session session authorization ann", ("session_authorization", Some("ann"), false)),
            ("set local session authorization 'ann'", ("session_authorization", Some("ann"), true)),
        ] {
            let Some(Ok(Command::Set { name, value, is_local })) = parsed(sql) else { panic!("{sql}") };
            assert_eq!((name.as_str(), value.as_deref(), is_local), wanted, "{sql}");
        }
        assert!(parsed("set session time zone 'UTC'").is_none());
    }

    #[test]
    fn relations_may_be_named_in_full() {
        let Some(Ok(Command::CheckLayout { schema, table })) = parsed("check layout \"postgres\".public.t")
        else {
            panic!("it is read here")
        };
        assert_eq!((schema.as_deref(), table.as_str()), (Some("public"), "t"));
        let other =
            parsed("refresh table elsewhere.public.t").expect("read here").expect_err("another database");
        assert_eq!(other.sqlstate().as_str(), "0A000");
    }

    #[test]
    fn roles_are_granted_to_roles() {
        let Some(Ok(Command::Membership(found))) =
            parsed("grant reader, \"Writer\" to ann with admin option")
        else {
            panic!("a membership")
        };
        assert_eq!(
            (found.roles, found.members, found.is_admin),
            (vec!["reader".into(), "Writer".into()], vec!["ann".into()], true)
        );
        for wrong in
            ["grant reader to ann with", "grant reader to ann cascade", "revoke admin reader from ann"]
        {
            let error = parsed(wrong).expect("read here").expect_err(wrong);
            assert_eq!(error.sqlstate().as_str(), "42601", "{wrong}");
        }
        assert!(parsed("grant select on t to ann").is_none());
    }
}
