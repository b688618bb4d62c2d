//! The 22 queries of TPC-H at scale factor 0.1 on both routes, against another engine's answers.

use std::path::Path;

use sql_tests::{Options, Route, TestCluster, tpch};
use tokio_postgres::SimpleQueryMessage;

async fn rows(client: &tokio_postgres::Client, sql: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let messages = client.simple_query(sql).await?;
    Ok(messages
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).unwrap_or("\\N").to_owned()).collect())
            }
            _ => None,
        })
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_22_answers_are_right_on_both_routes() {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "0.1").await.expect("data");
    let options = Options { locations: vec![data], ..Options::default() };
    let cluster = TestCluster::start(binary, &options).await.expect("a cluster");
    let mut failures = Vec::new();
    for route in [Route::Local, Route::Cluster] {
        let session = format!("-c sluice.route={}", route.as_str());
        let client = cluster.connect_with(&session).await.expect("a session");
        for number in tpch::QUERIES {
            let expected = tpch::answer(number).expect("an answer");
            let outcome = match rows(&client, &tpch::query(number).expect("a query")).await {
                Ok(actual) => tpch::compare(&actual, &expected),
                Err(error) => Err(format!("{error:?}")),
            };
            let ran = rows(&client, "show sluice.last_route").await.expect("a route");
            let outcome = outcome.and_then(|()| {
                let is_right = ran[0][0].starts_with(route.as_str());
                if is_right { Ok(()) } else { Err(format!("it ran {}", ran[0][0])) }
            });
            if let Err(problem) = outcome {
                failures.push(format!("Q{number} {route:?}: {problem}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
