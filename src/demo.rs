//! `sluice demo`: TPC-H data, a server with executors, and what to type next.

use std::path::PathBuf;

use clap::Args;
use engine::ByteSize;
use engine::config::{Config, ServeFlags};

use crate::tpch;

/// Flags of `sluice demo`.
#[derive(Debug, Args)]
pub struct DemoFlags {
    /// Size of the data: 1 is about 1 GB uncompressed, 320 MB of Parquet
    #[arg(long, value_name = "N", default_value = "1")]
    scale_factor: String,
    /// Generate the data and exit
    #[arg(long)]
    generate_only: bool,
    #[command(flatten)]
    serve: ServeFlags,
}

const EXECUTORS: usize = 2;
const QUERIES: [&str; 3] = [
    "select count(*) from lineitem;",
    "select o_orderpriority, count(*) from orders group by 1 order by 1;",
    "set sluice.route = cluster; select n_name, sum(l_extendedprice) from lineitem join supplier on \
     l_suppkey = s_suppkey join nation on s_nationkey = n_nationkey group by 1 order by 2 desc limit 5; \
     show sluice.last_route;",
];

/// Generates what is missing, then serves it.
pub fn run(flags: &DemoFlags) -> anyhow::Result<()> {
    let mut serve = flags.serve.clone();
    serve.executors = serve.executors.or(Some(EXECUTORS));
    // Room for the server, two executors and psql on a laptop.
    serve.executor_memory = serve.executor_memory.or(Some(ByteSize(2 * ByteSize::GIB)));
    let executors = serve.executors.unwrap_or_default();
    let mut config = Config::for_server(&serve)?;
    if serve.common.print_config {
        print!("{}", config.to_toml());
        return Ok(());
    }
    let folder = tpch_folder(&config.server.data_dir, &flags.scale_factor);
    tpch::generate(&folder, &flags.scale_factor)?;
    if flags.generate_only {
        println!("{}", folder.display());
        return Ok(());
    }
    config.server.locations.push(folder.to_string_lossy().into_owned());
    crate::run_server(config, serve.common.config.clone(), |server| {
        println!(
            "\nSluice serves TPC-H at scale factor {} with {executors} executors.\n",
            flags.scale_factor
        );
        println!("  psql -h {} -p {} -U postgres\n", server.listen.ip(), server.listen.port());
        println!("Try:\n");
        for query in QUERIES {
            println!("  {query}");
        }
        println!("\nDashboard: http://{}\nCtrl-C stops the server and its executors.\n", server.dashboard);
    })
}

fn tpch_folder(data_dir: &std::path::Path, scale_factor: &str) -> PathBuf {
    data_dir.join(format!("tpch-sf{scale_factor}"))
}
