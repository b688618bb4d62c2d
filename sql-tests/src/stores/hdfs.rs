//! HDFS: a NameNode and a DataNode of Hadoop 2.7.3.

use std::path::Path;
use std::process::Stdio;

use anyhow::Context;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{free_ports, line_with};

/// Hadoop's classes look into Java's own, which Java 17 allows only by name.
const OPENED: [&str; 4] = ["lang", "util", "nio", "net"];

/// A running file system.
#[derive(Debug)]
pub struct HdfsStore {
    /// `hdfs://HOST:PORT`, without a slash at its end.
    pub url: String,
    _name_node: Child,
    _data_node: Child,
    _folder: TempDir,
}

impl HdfsStore {
    /// Starts the servers among the installed `stores`, with an empty file system.
    pub async fn start(stores: &Path) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let [name, name_http, data, data_ipc, data_http] = free_ports()?;
        let url = format!("hdfs://127.0.0.1:{name}");
        let conf = folder.path().join("conf");
        for server in ["hdfs", "datanode"] {
            let web = conf.join("webapps").join(server).join("WEB-INF");
            std::fs::create_dir_all(&web)?;
            std::fs::write(web.join("web.xml"), "<web-app/>")?;
        }
        let local = |port: u16| format!("127.0.0.1:{port}");
        let storage = folder.path().join("data").to_string_lossy().into_owned();
        let core = [("fs.defaultFS", url.clone()), ("hadoop.tmp.dir", storage)];
        let hdfs = [
            ("dfs.replication", "1".to_owned()),
            ("dfs.permissions.enabled", "false".to_owned()),
            ("dfs.webhdfs.enabled", "false".to_owned()),
            ("dfs.namenode.http-address", local(name_http)),
            ("dfs.datanode.address", local(data)),
            ("dfs.datanode.ipc.address", local(data_ipc)),
            ("dfs.datanode.http.address", local(data_http)),
        ];
        std::fs::write(conf.join("core-site.xml"), settings(&core))?;
        std::fs::write(conf.join("hdfs-site.xml"), settings(&hdfs))?;
        let log = "log4j.rootLogger=INFO,A\nlog4j.appender.A=org.apache.log4j.ConsoleAppender\n\
                   log4j.appender.A.layout=org.apache.log4j.SimpleLayout\n";
        std::fs::write(conf.join("log4j.properties"), log)?;

        let java = |class: &str| {
            let mut command = Command::new("java");
            command.arg("-Xmx300m").arg(format!("-Dhadoop.log.dir={}", folder.path().display()));
            for package in OPENED {
                command.arg("--add-opens").arg(format!("java.base/java.{package}=ALL-UNNAMED"));
            }
            let jars = stores.join("hadoop/*");
            command.arg("-cp").arg(format!("{}:{}", conf.display(), jars.display()));
            command.arg(format!("org.apache.hadoop.hdfs.server.{class}"));
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
            command
        };
        let formatted = java("namenode.NameNode")
            .args(["-format", "-nonInteractive"])
            .stdout(Stdio::null())
            .status()
            .await
            .context("java runs")?;
        anyhow::ensure!(formatted.success(), "the file system could not be made");
        let mut name_node = java("namenode.NameNode").spawn()?;
        let output = name_node.stdout.take().context("its output is piped")?;
        line_with(output, "NameNode RPC up at").await.context("the NameNode")?;
        let mut data_node = java("datanode.DataNode").spawn()?;
        let output = data_node.stdout.take().context("its output is piped")?;
        line_with(output, "Successfully sent block report").await.context("the DataNode")?;
        Ok(Self { url, _name_node: name_node, _data_node: data_node, _folder: folder })
    }
}

fn settings(pairs: &[(&str, String)]) -> String {
    let property = |(name, value): &(&str, String)| {
        format!("<property><name>{name}</name><value>{value}</value></property>")
    };
    format!("<configuration>{}</configuration>", pairs.iter().map(property).collect::<String>())
}
