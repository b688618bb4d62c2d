//! What sessions and the server are set to.

use datafusion::arrow::array::RecordBatch;

use crate::pg_catalog::{Columns, View};
use crate::session;

/// The settings of the session, and for superusers those of the server; secrets are hidden.
pub fn settings(view: &View) -> RecordBatch {
    let values = &view.context.settings;
    let of_session = session::descriptions().map(|of| Setting {
        scope: "session",
        name: of.name.to_owned(),
        value: session::value_in(values, of).to_owned(),
        default: Some(of.default),
        description: Some(of.description),
    });
    let role = view.snapshot.metadata().role_by_oid(view.context.role_oid);
    let is_superuser = role.is_some_and(|role| role.is_superuser);
    let of_server = view.context.coordinator.config.settings().into_iter().filter(|_| is_superuser);
    let of_server = of_server.map(|(name, value)| Setting {
        scope: "server",
        name,
        value,
        default: None,
        description: None,
    });
    let rows: Vec<Setting> = of_session.chain(of_server).collect();
    Columns::new()
        .text("scope", rows.iter().map(|row| row.scope))
        .text("name", rows.iter().map(|row| row.name.as_str()))
        .text("value", rows.iter().map(|row| row.value.as_str()))
        .optional_text("default_value", rows.iter().map(|row| row.default))
        .optional_text("description", rows.iter().map(|row| row.description))
        .finish()
}

/// One of them.
struct Setting {
    scope: &'static str,
    name: String,
    value: String,
    default: Option<&'static str>,
    description: Option<&'static str>,
}
