//! The chart rendered and held against Kubernetes' schemas, the compose file against its own, and both against what must not
//! change unseen; with the binary asked whether it takes what they tell it.

use std::path::Path;

use tokio::process::Command;

#[tokio::test]
async fn the_chart_and_the_compose_file_are_sound() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docker");
    let output = Command::new("docker/check")
        .arg(folder)
        .arg(env!("CARGO_BIN_EXE_sluice"))
        .kill_on_drop(true)
        .output()
        .await
        .expect("the script starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let tail: Vec<&str> = said.lines().rev().take(30).collect();
    assert!(output.status.success(), "{tail:#?} {}", String::from_utf8_lossy(&output.stderr));
}
