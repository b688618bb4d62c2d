//! The session, other sessions, and the server they are in.

use engine::Error;

use super::super::View;
use super::{Body, Definition, Outcome, Value, acting, failed, function, of_nulls};
use crate::session;

/// The functions of this family.
pub const FUNCTIONS: &[Definition] = &[
    of_nulls("current_setting", 1..=2, Body::Text(current_setting)),
    acting("set_config", 3..=3, Body::Text(set_config)),
    function("current_schemas", 1..=1, Body::Texts(current_schemas)),
    of_nulls("pg_my_temp_schema", 0..=0, Body::Oid(|_, _| Ok(Some(0)))),
    function("pg_is_other_temp_schema", 1..=1, Body::Bool(|_, _| Ok(Some(false)))),
    of_nulls("pg_is_in_recovery", 0..=0, Body::Bool(|_, _| Ok(Some(false)))),
    of_nulls("pg_is_wal_replay_paused", 0..=0, Body::Bool(|_, _| Ok(Some(false)))),
    of_nulls("txid_current", 0..=0, Body::Int8(|view, _| Ok(Some(version(view))))),
    of_nulls("txid_current_if_assigned", 0..=0, Body::Int8(|_, _| Ok(None))),
    of_nulls("pg_current_xact_id_if_assigned", 0..=0, Body::Text(|_, _| Ok(None))),
    function("age", 1..=1, Body::Int4(|_, _| Ok(Some(0)))),
    function("mxid_age", 1..=1, Body::Int4(|_, _| Ok(Some(0)))),
    of_nulls("pg_postmaster_start_time", 0..=0, Body::Time(started)),
    of_nulls("pg_conf_load_time", 0..=0, Body::Time(started)),
    of_nulls("pg_backend_pid", 0..=0, Body::Int4(|view, _| Ok(Some(view.context.process_id)))),
    of_nulls("inet_client_addr", 0..=0, Body::Text(|_, _| Ok(None))),
    of_nulls("inet_client_port", 0..=0, Body::Int4(|_, _| Ok(None))),
    of_nulls("inet_server_addr", 0..=0, Body::Text(|_, _| Ok(None))),
    of_nulls("inet_server_port", 0..=0, Body::Int4(|_, _| Ok(None))),
    acting("pg_cancel_backend", 1..=1, Body::Bool(cancel)),
    acting("pg_terminate_backend", 1..=2, Body::Bool(terminate)),
    // There is nothing to lock; pools and migration tools ask all the same.
    acting("pg_advisory_lock", 1..=2, Body::Named("void", void)),
    acting("pg_advisory_lock_shared", 1..=2, Body::Named("void", void)),
    acting("pg_advisory_xact_lock", 1..=2, Body::Named("void", void)),
    acting("pg_advisory_unlock_all", 0..=0, Body::Named("void", void)),
    acting("pg_try_advisory_lock", 1..=2, Body::Bool(|_, _| Ok(Some(true)))),
    acting("pg_try_advisory_xact_lock", 1..=2, Body::Bool(|_, _| Ok(Some(true)))),
    acting("pg_advisory_unlock", 1..=2, Body::Bool(|_, _| Ok(Some(true)))),
    acting("pg_notify", 2..=2, Body::Named("void", notify)),
    acting("pg_stat_clear_snapshot", 0..=0, Body::Named("void", void)),
];

fn void(_: &View, _: &[Value]) -> Outcome<String> {
    Ok(Some(String::new()))
}

/// Nobody can listen, so that nobody is to be told; the channel is looked at all the same.
fn notify(_: &View, call: &[Value]) -> Outcome<String> {
    const CHANNEL_BYTES_MAX: usize = 63;
    let invalid = |message: &str| failed(Error::InvalidParameterValue { message: message.to_owned() });
    match call[0].text().unwrap_or_default().len() {
        0 => Err(invalid("channel name cannot be empty")),
        1..=CHANNEL_BYTES_MAX => Ok(Some(String::new())),
        _ => Err(invalid("channel name too long")),
    }
}

fn version(view: &View) -> i64 {
    i64::try_from(view.snapshot.version()).unwrap_or(i64::MAX)
}

fn started(view: &View, _: &[Value]) -> Outcome<i64> {
    Ok(Some(view.context.coordinator.sessions_open.server_started_at()))
}

fn unknown(name: &str) -> Error {
    Error::UndefinedObject { message: format!("unrecognized configuration parameter \"{name}\"") }
}

fn current_setting(view: &View, call: &[Value]) -> Outcome<String> {
    let Some(name) = call[0].text() else { return Ok(None) };
    let settings = &view.context.settings;
    match session::described(&name) {
        Some(setting) => Ok(Some(session::value_in(settings, setting).to_owned())),
        None if call.get(1) == Some(&Value::Bool(true)) => Ok(None),
        None => Err(failed(unknown(&name))),
    }
}

/// The change is noted for the session, which makes it when the statement is over.
fn set_config(view: &View, call: &[Value]) -> Outcome<String> {
    let Some(name) = call[0].text() else {
        let message = "SET requires parameter name".to_owned();
        return Err(failed(Error::InvalidParameterValue { message }));
    };
    if session::described(&name).is_none() {
        return Err(failed(unknown(&name)));
    }
    let is_identity = ["role", "session_authorization"].iter().any(|known| known.eq_ignore_ascii_case(&name));
    if view.context.is_restricted && is_identity {
        let message = format!("cannot set parameter \"{name}\" within security-restricted operation");
        return Err(failed(Error::PermissionDenied { message }));
    }
    let value = call[1].text();
    let is_local = call[2] == Value::Bool(true);
    view.context.effects.lock().push((name, value.clone(), is_local));
    Ok(Some(value.unwrap_or_default()))
}

fn current_schemas(view: &View, call: &[Value]) -> Outcome<Vec<String>> {
    let mut schemas = view.context.search_path.clone();
    if call[0] == Value::Bool(true) && !schemas.iter().any(|schema| schema == "pg_catalog") {
        schemas.insert(0, "pg_catalog".to_owned());
    }
    Ok(Some(schemas))
}

/// Whether the current role may end what session `process_id` does: its own, or any as a superuser.
fn may_signal(view: &View, process_id: i32) -> Outcome<()> {
    let sessions = view.context.coordinator.sessions_open.list();
    let Some(session) = sessions.iter().find(|session| session.process_id == process_id) else {
        return Ok(None);
    };
    let metadata = view.snapshot.metadata();
    let (me, of) = (view.context.role_oid, metadata.role_by_oid(session.role_oid));
    if of.is_some_and(|role| role.is_superuser) && !metadata.is_superuser(me) {
        let message = "must be a superuser to cancel superuser query".to_owned();
        return Err(failed(Error::PermissionDenied { message }));
    }
    if !of.map_or(metadata.is_superuser(me), |role| metadata.has_privileges_of(me, role.oid)) {
        let message = "must be a member of the role whose query is being canceled".to_owned();
        return Err(failed(Error::PermissionDenied { message }));
    }
    Ok(Some(()))
}

fn signal(view: &View, call: &[Value], is_end: bool) -> Outcome<bool> {
    let Some(process_id) = call[0].int().and_then(|number| i32::try_from(number).ok()) else {
        return Ok(None);
    };
    if may_signal(view, process_id)?.is_none() {
        return Ok(Some(false));
    }
    let sessions = &view.context.coordinator.sessions_open;
    Ok(Some(if is_end { sessions.terminate(process_id) } else { sessions.cancel_statement(process_id) }))
}

fn cancel(view: &View, call: &[Value]) -> Outcome<bool> {
    signal(view, call, false)
}

fn terminate(view: &View, call: &[Value]) -> Outcome<bool> {
    signal(view, call, true)
}
