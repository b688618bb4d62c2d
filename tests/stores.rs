//! The same tables in every kind of store, and stores that fail.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use sql_tests::{
    AzureStore, BUCKET, Envoy, FakeGcs, GcsStore, HdfsStore, Options, S3Store, TestCluster,
    installed_clients, installed_stores, rows, sqlstate, tpch,
};

const ROUTES: [&str; 2] = ["local", "cluster"];

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sluice"))
}

fn scratch() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

async fn data() -> PathBuf {
    tpch::data(binary(), scratch(), "0.01").await.expect("data")
}

async fn venv() -> PathBuf {
    installed_clients(scratch()).await.expect("the clients").join("venv")
}

async fn stores() -> PathBuf {
    installed_stores(scratch()).await.expect("the stores")
}

/// Writes, restarts, reads, rewrites and copies tables below `place`.
async fn tables_last_at(place: &str, environment: Vec<(String, String)>) {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        locations: vec![data().await],
        executors: 1,
        data_dir: Some(folder.path().join("data")),
        flags: vec!["--warehouse".into(), format!("{place}/warehouse")],
        environment,
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster");
    let client = cluster.connect().await.expect("a session");
    for route in ROUTES {
        client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
        let create = format!(
            "create table kept_{route} partitioned by (o_orderstatus) as select * from orders;
             insert into kept_{route} select * from orders where o_orderkey < 100"
        );
        client.batch_execute(&create).await.expect("a table");
        let target = format!("{place}/warehouse/files/{route}/");
        let copy = format!("copy lineitem to '{target}' (partitions 3)");
        client.batch_execute(&copy).await.expect("a copy");
        assert_eq!(sqlstate(&client.batch_execute(&copy).await), "42P07", "{route}");
        // What is replaced is gone, a folder as a file.
        let file = format!("{place}/warehouse/files/{route}.parquet");
        for (source, place) in [("lineitem", &target), ("orders", &file), ("lineitem", &file)] {
            let replace = format!("copy {source} to '{place}' (overwrite)");
            client.batch_execute(&replace).await.expect("a copy");
        }
        assert_eq!(
            sqlstate(&client.batch_execute(&format!("copy orders to '{file}'")).await),
            "42P07",
            "{route}"
        );
        for (name, place) in [("copied", &target), ("file", &file)] {
            let external =
                format!("create external table {name}_{route} stored as parquet location '{place}'");
            client.batch_execute(&external).await.expect("an external table");
        }
    }
    drop(client);
    cluster.end("TERM").await.expect("the server ends");

    let cluster = TestCluster::start(binary(), &options).await.expect("the cluster again");
    let client = cluster.connect().await.expect("a second client");
    for (written, route) in [("local", "cluster"), ("cluster", "local")] {
        client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
        let sums = |table: &str| format!("select count(*), sum(o_orderkey), min(o_orderdate) from {table}");
        let source = "(select * from orders union all select * from orders where o_orderkey < 100) o";
        let kept = format!("kept_{written}");
        assert_eq!(rows(&client, &sums(&kept)).await, rows(&client, &sums(source)).await, "{written}");
        for copied in ["copied", "file"] {
            let sums = |table: &str| format!("select count(*), sum(l_extendedprice) from {table}");
            let copied = rows(&client, &sums(&format!("{copied}_{written}"))).await;
            assert_eq!(copied, rows(&client, &sums("lineitem")).await, "{written}");
        }
        let changes = format!(
            "delete from {kept} where o_orderstatus = 'F'; update {kept} set o_orderkey = 0 where o_orderkey < 100"
        );
        client.batch_execute(&changes).await.expect("changes");
        let left = format!("select count(*) from {source} where o_orderstatus <> 'F'");
        assert_eq!(
            rows(&client, &format!("select count(*) from {kept}")).await,
            rows(&client, &left).await,
            "{written}"
        );
        let missing =
            format!("create external table missing stored as parquet location '{place}/warehouse/no/'");
        assert_eq!(sqlstate(&client.batch_execute(&missing).await), "58P01", "{written}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_last_on_google_cloud_storage() {
    let store = GcsStore::start(&venv().await).await.expect("a store");
    tables_last_at(&format!("gs://{BUCKET}"), store.environment()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_last_on_azure() {
    let store = AzureStore::start(&stores().await).await.expect("a store");
    tables_last_at(&format!("az://{BUCKET}"), store.environment()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_last_on_hdfs() {
    let store = HdfsStore::start(&stores().await).await.expect("a store");
    tables_last_at(&store.url, Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_leaves_a_folder_of_hdfs_as_it_was_or_replaced() {
    // Many more by their own command: see docs/reliability.md.
    let kills = std::env::var("SLUICE_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(4);
    let store = HdfsStore::start(&stores().await).await.expect("a store");
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        locations: vec![data().await],
        executors: 0,
        data_dir: Some(folder.path().join("data")),
        flags: vec!["--warehouse".into(), format!("{}/warehouse", store.url)],
        ..Options::default()
    };
    let target = format!("{}/warehouse/files/replaced/", store.url);
    let copy = |rows: usize| {
        format!("copy (select * from lineitem limit {rows}) to '{target}' (partitions 3, overwrite)")
    };
    let mut random = StdRng::seed_from_u64(7);
    let (mut rows_there, mut replaced) = (50_000, 0);
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let client = cluster.connect().await.expect("a session");
    let began = std::time::Instant::now();
    client.batch_execute(&copy(rows_there)).await.expect("a copy");
    let copy_takes = began.elapsed().as_millis() as u64;
    drop((client, cluster));
    for kill in 1..=kills {
        let cluster = TestCluster::start(binary(), &options).await.expect("the server opens");
        let client = cluster.connect().await.expect("a session");
        let rows_next = 50_000 + kill;
        let copy = copy(rows_next);
        // Somewhere in the time that the copy takes: the injected kill, not a wait.
        let wait = Duration::from_millis(random.random_range(0..copy_takes * 5 / 4));
        let killing = async {
            tokio::time::sleep(wait).await;
            sql_tests::send_signal("KILL", cluster.process_id()).await.expect("a signal");
        };
        let (copied, ()) = tokio::join!(client.batch_execute(&copy), killing);
        let cluster = TestCluster::start(binary(), &options).await.expect("the server opens again");
        let client = cluster.connect().await.expect("a session");
        let external = format!("create external table there stored as parquet location '{target}'");
        client.batch_execute(&external).await.expect("a table");
        let found: usize = rows(&client, "select count(*) from there").await[0][0].parse().expect("a count");
        client.batch_execute("drop table there").await.expect("dropped");
        assert!(found == rows_next || found == rows_there, "kill {kill}: {found} rows");
        assert!(copied.is_err() || found == rows_next, "kill {kill}: a copy that was told is there");
        replaced += usize::from(found == rows_next);
        rows_there = found;
    }
    println!("{replaced} of {kills} copies came into their place");
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_client_carries_what_we_wrote_and_we_read_it_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let (written, returned) = (folder.path().join("written"), folder.path().join("returned"));
    let google = FakeGcs::start(&stores().await).await.expect("a store");
    let options = Options {
        locations: vec![data().await],
        executors: 1,
        flags: vec!["--warehouse".into(), folder.path().join("lake").to_string_lossy().into_owned()],
        ..Options::default()
    };
    std::fs::create_dir(folder.path().join("lake")).expect("a folder");
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster");
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let place = folder.path().join("lake/files/lineitem");
    client
        .batch_execute(&format!("copy lineitem to '{}' (partitions 3)", place.display()))
        .await
        .expect("a copy");
    let question = "select count(*), sum(l_extendedprice), min(l_shipdate) from lineitem";
    let expected = rows(&client, question).await;
    std::fs::create_dir(&written).expect("a folder");
    std::fs::rename(&place, written.join("lineitem")).expect("moved");
    google.put("shared", &written).await.expect("uploaded");

    let options = Options {
        locations: vec!["gs://shared/".into()],
        executors: 1,
        environment: google.environment(),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster over the bucket");
    let client = cluster.connect().await.expect("a session");
    for route in ROUTES {
        client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
        assert_eq!(rows(&client, question).await, expected, "{route}");
    }
    google.get("shared", &returned).await.expect("downloaded");
    let files = |folder: &Path| {
        let entries = std::fs::read_dir(folder.join("lineitem")).expect("a folder");
        let mut files: Vec<_> = entries
            .map(|entry| {
                let path = entry.expect("an entry").path();
                (path.file_name().expect("a name").to_owned(), std::fs::read(path).expect("a file"))
            })
            .collect();
        files.sort();
        files
    };
    assert!(files(&written).len() >= 3);
    assert!(files(&written) == files(&returned), "Google's client gave other files back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_on_a_web_server_is_read() {
    let store = S3Store::start(&venv().await).await.expect("a store");
    let options = Options {
        locations: vec![data().await],
        executors: 0,
        flags: vec!["--warehouse".into(), format!("s3://{BUCKET}/warehouse")],
        environment: store.environment(),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let client = cluster.connect().await.expect("a session");
    let file = "warehouse/files/lineitem.parquet";
    client.batch_execute(&format!("copy lineitem to 's3://{BUCKET}/{file}'")).await.expect("a copy");
    let question = "select count(*), sum(l_extendedprice), min(l_shipdate) from lineitem";
    let expected = rows(&client, question).await;

    let options = Options { locations: vec![store.web_url().into()], executors: 1, ..Options::default() };
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster over the web");
    let client = cluster.connect().await.expect("a session");
    let named = |url: String| format!("create external table lineitem stored as parquet location '{url}'");
    let elsewhere = client.batch_execute(&named("http://127.0.0.1:1/lineitem.parquet".to_owned())).await;
    assert_eq!(sqlstate(&elsewhere), "42501");
    let missing = client.batch_execute(&named(format!("{}warehouse/no.parquet", store.web_url()))).await;
    assert_eq!(sqlstate(&missing), "58P01", "{missing:?}");
    client.batch_execute(&named(format!("{}{file}", store.web_url()))).await.expect("a table");
    for route in ROUTES {
        client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
        assert_eq!(rows(&client, question).await, expected, "{route}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bucket_is_entered_with_its_own_credentials_that_nobody_sees() {
    const SECRET: &str = "canary-7b1f2c";
    let venv = venv().await;
    let (s3, gcs) =
        tokio::join!(S3Store::start_with_keys(&venv, "archivist", SECRET), GcsStore::start(&venv));
    let (s3, gcs) = (s3.expect("a store"), gcs.expect("a store"));
    let options = Options {
        locations: vec![data().await],
        executors: 0,
        flags: vec!["--warehouse".into(), format!("gs://{BUCKET}/warehouse")],
        environment: gcs.environment(),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let client = cluster.connect().await.expect("a session");
    let copy = format!("copy nation to 'gs://{BUCKET}/warehouse/files/shared.parquet'");
    client.batch_execute(&copy).await.expect("a copy");

    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("sluice.toml");
    let named = format!(
        "[stores.named.archive]
         buckets = [\"{BUCKET}\"]
         s3.endpoint = \"http://{}\"
         s3.region = \"us-east-1\"
         s3.access_key_id = \"archivist\"
         s3.secret_access_key = \"{SECRET}\"
         s3.allow_http = true
         [stores.named.shared]
         buckets = [\"other\", \"{BUCKET}\"]
         gcs = {{ service_account_path = \"{}\", allow_http = true }}",
        s3.address,
        gcs.service_account().display(),
    );
    std::fs::write(&config, named).expect("written");
    let options = Options {
        locations: vec![data().await, format!("gs://{BUCKET}/warehouse/files/").into()],
        executors: 1,
        flags: vec![
            "--warehouse".into(),
            format!("s3://{BUCKET}/warehouse"),
            "--config".into(),
            config.to_string_lossy().into_owned(),
        ],
        environment: [("SLUICE_LOG", "debug"), ("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "y")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster");
    let client = cluster.connect().await.expect("a session");
    client.batch_execute("create table kept as select * from orders").await.expect("a table");
    let mut seen = Vec::new();
    for route in ROUTES {
        client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
        let both = "select (select count(*) from kept), (select count(*) from shared)";
        assert_eq!(rows(&client, both).await, [["15000", "25"]], "{route}");
        seen.extend(rows(&client, "explain verbose select * from kept").await.concat());
    }
    client.batch_execute("set sluice.route = local").await.expect("a route");
    seen.extend(rows(&client, "explain analyze verbose select * from kept").await.concat());
    for statement in [
        "show all",
        "select * from pg_settings",
        "select * from sys.queries",
        "select * from pg_stat_activity",
    ] {
        seen.extend(rows(&client, statement).await.concat());
    }
    let printed = tokio::process::Command::new(binary())
        .args(["serve", "--print-config", "--config"])
        .arg(&config)
        .output()
        .await
        .expect("it prints");
    seen.push(String::from_utf8(printed.stdout).expect("text"));
    assert!(seen.iter().any(|text| text.contains("archive")), "the name is no secret");
    seen.push(cluster.log());
    assert!(seen.iter().all(|text| !text.contains(SECRET)), "the secret was shown");
}

/// The environment of a server that enters `store` by way of `envoy`.
fn through(envoy: &Envoy, store: &S3Store) -> Vec<(String, String)> {
    let mut environment = store.environment();
    environment.retain(|(name, _)| name != "AWS_ENDPOINT");
    environment.push(("AWS_ENDPOINT".into(), format!("http://{}", envoy.address)));
    environment
}

/// Answers stay right while a store refuses and delays its requests.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_now_and_then_changes_no_answer() {
    let store = S3Store::start(&venv().await).await.expect("a store");
    let envoy = Envoy::start(&stores().await, store.port()).await.expect("a proxy");
    let mut environment = through(&envoy, &store);
    // Every read is a request.
    environment.push(("SLUICE_CACHE__MEMORY".into(), "0".into()));
    let options = Options {
        locations: vec![data().await],
        executors: 2,
        flags: vec!["--warehouse".into(), format!("s3://{BUCKET}/warehouse")],
        environment,
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster");
    let client = cluster.connect().await.expect("a session");
    client
        .batch_execute(
            "create table items partitioned by (l_returnflag, l_linestatus) as select * from lineitem",
        )
        .await
        .expect("a table");
    let question = |table: &str| {
        format!(
            "select l_returnflag, l_linestatus, l_shipmode, count(*), sum(l_extendedprice), min(l_shipdate)
             from {table} group by 1, 2, 3 order by 1, 2, 3"
        )
    };
    let expected = rows(&client, &question("lineitem")).await;
    for (refused, delayed) in [(1, 0), (10, 0), (30, 0), (0, 10), (10, 10)] {
        envoy.inject(refused, delayed).await.expect("faults");
        for route in ROUTES {
            client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
            let copy = format!("s3://{BUCKET}/warehouse/files/{refused}-{delayed}-{route}/");
            client.batch_execute(&format!("copy lineitem to '{copy}' (partitions 3)")).await.expect("a copy");
            client
                .batch_execute(&format!("create external table copied stored as parquet location '{copy}'"))
                .await
                .expect("an external table");
            for table in ["items", "copied"] {
                let actual = rows(&client, &question(table)).await;
                assert_eq!(actual, expected, "{table}, {route}, {refused} % refused, {delayed} % delayed");
            }
            client.batch_execute("drop table copied").await.expect("dropped");
        }
    }
    let (refused, delayed) = envoy.injected().await.expect("counters");
    assert!(refused > 20 && delayed > 2, "{refused} requests were refused and {delayed} delayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_gone_is_told_within_the_retry_timeout() {
    let store = S3Store::start(&venv().await).await.expect("a store");
    let envoy = Envoy::start(&stores().await, store.port()).await.expect("a proxy");
    let mut environment = through(&envoy, &store);
    environment.push(("SLUICE_STORES__RETRY_TIMEOUT".into(), "2s".into()));
    let options = Options {
        locations: vec![data().await],
        executors: 0,
        flags: vec!["--warehouse".into(), format!("s3://{BUCKET}/warehouse")],
        environment,
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let client = cluster.connect().await.expect("a session");
    client.batch_execute("create table kept as select * from orders").await.expect("a table");
    envoy.inject(100, 0).await.expect("faults");
    let started = std::time::Instant::now();
    let read = client.batch_execute("select * from kept").await;
    assert_eq!(sqlstate(&read), "58030", "{read:?}");
    let written = client
        .batch_execute("insert into kept select * from kept limit 0; insert into kept select * from orders")
        .await;
    assert_eq!(sqlstate(&written), "58030", "{written:?}");
    // Tried again for 2 seconds each, the last pause of which may end later.
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    envoy.inject(0, 0).await.expect("no faults");
    assert_eq!(
        rows(&client, "select count(*) from kept").await,
        rows(&client, "select count(*) from orders").await
    );
}
