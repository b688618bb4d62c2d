//! Pages that are made from the code: they say what the code says. `SLUICE_TEST_UPDATE=1 cargo test --release --test docs`
//! writes them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use sql_tests::{Options, TestCluster};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn source(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).expect("a file of the repository")
}

/// Compares `text` with the page at `path`, or writes it there.
fn check(path: &str, text: &str) {
    let page: PathBuf = root().join(path);
    if std::env::var_os("SLUICE_TEST_UPDATE").is_some() {
        std::fs::write(&page, text).expect("the page is written");
    }
    let found = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(
        found == text,
        "{path} is not what the code says: SLUICE_TEST_UPDATE=1 cargo test --release --test docs writes it anew"
    );
}

/// `| a | b |`, with what would end a cell written otherwise.
fn row(cells: &[&str]) -> String {
    let cells = cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " "));
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

async fn server() -> TestCluster {
    let options = Options { executors: 0, ..Options::default() };
    TestCluster::start(Path::new(env!("CARGO_BIN_EXE_sluice")), &options).await.expect("a server")
}

#[tokio::test]
async fn the_views_of_the_system() {
    let server = server().await;
    let client = server.connect().await.expect("a session");
    let told = client
        .query(
            "select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), \
                    obj_description(c.oid, 'pg_class'), col_description(c.oid, a.attnum) \
             from pg_class c join pg_namespace n on n.oid = c.relnamespace \
             join pg_attribute a on a.attrelid = c.oid \
             where n.nspname = 'sys' and a.attnum > 0 order by c.relname, a.attnum",
            &[],
        )
        .await
        .expect("the views describe themselves");
    let mut page = String::from(
        "# The system as SQL\n\n\
         The views of the schema `sys` show what runs, what ran and what it takes. They are read on the server, never wait\n\
         for a slot, and can be joined with each other and with other tables. Names end in their unit: `_bytes`, `_ms`\n\
         (milliseconds). What is not known is null. psql's `\\d+ sys.queries` tells the same as this page, which is made from\n\
         the code (`tests/docs.rs`).\n",
    );
    // The texts are found by the places of columns: those must be the views'.
    let source = source("server/src/sys/reference.rs");
    for view in source.split("ViewReference {").skip(2) {
        let mut texts = view.split('"').skip(1).step_by(2);
        let (name, _about) = (texts.next().unwrap_or_default(), texts.next());
        let written: Vec<&str> = texts.step_by(2).collect();
        let columns: Vec<String> =
            told.iter().filter(|told| told.get::<_, String>(0) == name).map(|t| t.get(1)).collect();
        assert_eq!(written, columns, "the columns of sys.{name}");
    }
    let mut last = String::new();
    for told in &told {
        let view: String = told.get(0);
        let texts: [Option<String>; 4] = [told.get(1), told.get(2), told.get(3), told.get(4)];
        let [column, kind, about, meaning] = texts.map(Option::unwrap_or_default);
        assert!(!about.is_empty() && !meaning.is_empty(), "sys.{view}.{column} is not described");
        if view != last {
            let _ = write!(
                page,
                "\n## sys.{view}\n\n{about}\n\n| column | type | what it holds |\n|---|---|---|\n"
            );
            last = view;
        }
        page.push_str(&row(&[&format!("`{column}`"), &kind, &meaning]));
    }
    check("docs/sys.md", &page);
}

/// The structs of the configuration: what is written above them, and their fields with their texts.
fn configuration() -> Vec<(String, Vec<(String, String)>)> {
    let text = source("engine/src/config.rs");
    let mut sections = Vec::new();
    let (mut about, mut open): (Vec<String>, Option<(String, Vec<_>)>) = (Vec::new(), None);
    for line in text.lines().map(str::trim) {
        if let Some(said) = line.strip_prefix("/// ") {
            about.push(said.to_owned());
        } else if line.starts_with("pub struct ") {
            let name = about.first().filter(|said| said.starts_with("`[")).cloned();
            open = name.map(|name| (name.split('`').nth(1).unwrap_or_default().to_owned(), Vec::new()));
            about.clear();
        } else if line == "}" {
            sections.extend(open.take());
            about.clear();
        } else if let (Some((_, fields)), Some(field)) = (&mut open, line.strip_prefix("pub ")) {
            if let Some((name, _)) = field.split_once(": ") {
                fields.push((name.to_owned(), about.join(" ")));
            }
            about.clear();
        } else if !line.starts_with("#[") {
            about.clear();
        }
    }
    sections
}

/// What a setting is when nobody sets it: `key = value` lines below `[section]`.
fn defaults() -> BTreeMap<String, String> {
    let printed = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["serve", "--print-config"])
        .env_clear()
        .output()
        .expect("the settings are printed");
    let table: toml::Table = String::from_utf8_lossy(&printed.stdout).parse().expect("TOML");
    let mut defaults = BTreeMap::new();
    for (section, keys) in &table {
        for (key, value) in keys.as_table().into_iter().flatten() {
            defaults.insert(format!("[{section}].{key}"), value.to_string());
        }
    }
    defaults
}

#[tokio::test]
async fn the_settings() {
    let server = server().await;
    let client = server.connect().await.expect("a session");
    let mut page = String::from(
        "# Settings\n\n\
         This page is made from the code (`tests/docs.rs`). `sluice serve --print-config` shows what is in force; `select * from\n\
         sys.settings` as well.\n\n\
         ## Of the server and the executors\n\n\
         Flags win over the environment (`SLUICE_SECTION__KEY`, as in `SLUICE_SERVER__LISTEN`), which wins over the file of\n\
         `--config` (TOML). Unknown keys are refused. Sizes are written `512MB`, `4GB` (GB is 1024³ bytes), times `250ms`, `30s`,\n\
         `5min`.\n",
    );
    let defaults = defaults();
    for (section, fields) in configuration() {
        let _ = write!(page, "\n### {section}\n\n| key | default | what it does |\n|---|---|---|\n");
        for (key, about) in &fields {
            assert!(!about.is_empty(), "{section} {key} is not described");
            let default = defaults.get(&format!("{section}.{key}")).map(|value| format!("`{value}`"));
            page.push_str(&row(&[&format!("`{key}`"), default.as_deref().unwrap_or(""), about]));
        }
    }
    page.push_str(
        "\n## Of a session\n\n`SET name = value`, `ALTER ROLE … SET`, or `options=-c name=value` when connecting; `SHOW ALL` lists them.\n\n\
         | name | default | what it does |\n|---|---|---|\n",
    );
    let sessions =
        "select name, default_value, description from sys.settings where scope = 'session' order by name";
    for told in client.query(sessions, &[]).await.expect("settings") {
        let (name, default, about): (String, String, String) = (told.get(0), told.get(1), told.get(2));
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        page.push_str(&row(&[&format!("`{name}`"), &default, &about]));
    }
    check("docs/settings.md", &page);
}

/// Codes in the one place where conditions become codes.
fn codes() -> BTreeSet<String> {
    let text = source("engine/src/sqlstate.rs");
    text.split("b\"").skip(1).map(|rest| rest.chars().take(5).collect()).collect()
}

#[test]
fn every_code_is_explained() {
    let page = source("docs/errors.md");
    let told: BTreeSet<String> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.get(..5).map(str::to_owned)).collect();
    let missing: Vec<_> = codes().difference(&told).cloned().collect();
    assert!(missing.is_empty(), "docs/errors.md does not explain {missing:?}");
    let made_up: Vec<_> = told.difference(&codes()).cloned().collect();
    assert!(made_up.is_empty(), "docs/errors.md explains {made_up:?}, which nothing answers with");
}

/// As pages on the web name the headings of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let letters = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = letters.chars().filter(|of| of.is_alphanumeric() || " -_".contains(*of));
            kept.map(|of| if of == ' ' { '-' } else { of }).collect()
        })
        .collect()
}

fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the repository").flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") && !entry.file_name().to_string_lossy().starts_with('.')
        {
            pages(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            found.push(path);
        }
    }
}

#[test]
fn links_lead_somewhere() {
    let mut found = Vec::new();
    pages(root(), &mut found);
    assert!(found.len() > 10, "{found:?}");
    let mut broken = Vec::new();
    for page in found {
        let text = std::fs::read_to_string(&page).expect("a page");
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => page.clone(),
                path => page.parent().expect("a folder").join(path),
            };
            let is_there = target.exists()
                && (anchor.is_empty()
                    || anchors(&std::fs::read_to_string(&target).unwrap_or_default()).contains(anchor));
            if !is_there {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
