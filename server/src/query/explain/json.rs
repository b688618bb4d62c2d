//! `EXPLAIN (FORMAT JSON)`: PostgreSQL's keys where there is such a thing, for tools that draw its plans, and the whole
//! account beside.

use std::collections::VecDeque;

use engine::{Error, Result};
use serde_json::{Map, Value, json};

use super::Explained;
use crate::profile::{Operator, Profile, Stage};

/// The document.
pub fn document(explained: &Explained) -> Result<String> {
    let Explained { explain, profile, .. } = explained;
    let mut whole = Map::new();
    if let Some(last) = profile.stages.last() {
        let mut operators = last.operators.iter().peekable();
        if let Some(plan) = node(explained, last, &mut operators, 0) {
            whole.insert("Plan".into(), plan);
        }
    }
    if explain.summary && explain.timing {
        let times = [("Planning Time", profile.planning_ms), ("Execution Time", explained.execution_ms)];
        whole.extend(times.iter().filter_map(|(name, ms)| Some(((*name).to_owned(), json!((*ms)?)))));
    }
    whole.insert("Route".into(), json!(explained.route));
    let told = Profile { tasks: VecDeque::new(), ..profile.clone() };
    let told = serde_json::to_value(told).map_err(|error| Error::internal(error.to_string()))?;
    whole.insert("Profile".into(), told);
    if let Some(plan) = &explained.plan {
        whole.insert("DataFusion Plan".into(), json!(plan));
    }
    serde_json::to_string_pretty(&json!([whole])).map_err(|error| Error::internal(error.to_string()))
}

type Operators<'a> = std::iter::Peekable<std::slice::Iter<'a, Operator>>;

/// The next operator with its inputs.
fn node(explained: &Explained, stage: &Stage, operators: &mut Operators<'_>, depth: usize) -> Option<Value> {
    let operator = operators.next_if(|operator| operator.depth == depth)?;
    let mut node = Map::new();
    node.insert("Node Type".into(), json!(operator.name));
    node.insert("Stage".into(), json!(stage.stage_id));
    if !operator.detail.is_empty() {
        node.insert("Detail".into(), json!(operator.detail));
    }
    if let Some((_, table)) = operator.name.split_once(" Scan on ") {
        node.insert("Relation Name".into(), json!(table));
    }
    if explained.explain.costs {
        node.insert("Plan Rows".into(), json!(operator.predicted_rows));
    }
    if explained.execution_ms.is_some() {
        let actual = [
            ("Actual Rows", operator.rows.map(|rows| json!(rows))),
            (
                "Actual Total Time",
                operator.compute_ms.filter(|_| explained.explain.timing).map(|ms| json!(ms)),
            ),
            ("Spilled Bytes", operator.spilled_bytes.map(|bytes| json!(bytes))),
        ];
        node.extend(actual.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        if operator.rows.is_some() {
            node.insert("Actual Loops".into(), json!(1));
        }
    }
    let mut inputs = Vec::new();
    if let Some(from) = operator.reads_stage {
        let exchange = explained
            .profile
            .exchanges
            .iter()
            .find(|of| of.from_stage == from && of.to_stage == Some(stage.stage_id));
        if let Some(exchange) = exchange {
            node.insert("Exchange".into(), json!(exchange));
        }
        if let Some(from) = explained.profile.stage(from) {
            inputs.extend(self::node(explained, from, &mut from.operators.iter().peekable(), 0));
        }
    }
    while let Some(input) = self::node(explained, stage, operators, depth + 1) {
        inputs.push(input);
    }
    if !inputs.is_empty() {
        node.insert("Plans".into(), Value::Array(inputs));
    }
    Some(Value::Object(node))
}
