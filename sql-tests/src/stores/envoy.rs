//! Envoy in front of a store: answers a share of the requests with 503, and holds a share back.

use std::path::Path;
use std::process::Stdio;

use anyhow::Context;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::{free_ports, listening};

/// A running proxy.
#[derive(Debug)]
pub struct Envoy {
    /// `127.0.0.1:PORT` of the proxy.
    pub address: String,
    admin: u16,
    _server: Child,
    _folder: TempDir,
}

impl Envoy {
    /// Starts the one among the installed `stores` in front of the HTTP server on `port`, without faults.
    pub async fn start(stores: &Path, port: u16) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let [listen, admin] = free_ports()?;
        let config = folder.path().join("envoy.yaml");
        std::fs::write(&config, configuration(listen, admin, port))?;
        let server = Command::new(stores.join("venv/bin/envoy"))
            .arg("--config-path")
            .arg(&config)
            .args(["--log-level", "off", "--concurrency", "1", "--disable-hot-restart"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        listening(listen, "Envoy").await?;
        Ok(Self { address: format!("127.0.0.1:{listen}"), admin, _server: server, _folder: folder })
    }

    /// From now on `refused` per cent of the requests are answered with 503 and `delayed` per cent wait for two
    /// seconds.
    pub async fn inject(&self, refused: u32, delayed: u32) -> anyhow::Result<()> {
        let path = format!(
            "/runtime_modify?fault.http.abort.abort_percent={refused}&fault.http.delay.fixed_delay_percent={delayed}"
        );
        let answer = self.ask("POST", &path).await?;
        anyhow::ensure!(answer.starts_with("HTTP/1.1 200"), "Envoy said {answer}");
        Ok(())
    }

    /// Requests that were answered with 503, and requests that had to wait, since the start.
    pub async fn injected(&self) -> anyhow::Result<(u64, u64)> {
        let answer = self.ask("GET", "/stats?filter=fault").await?;
        let counter = |name: &str| {
            let line = answer.lines().find(|line| line.contains(name));
            let value = line.and_then(|line| line.rsplit(' ').next()).context("a counter of Envoy's")?;
            value.trim().parse::<u64>().context("a count")
        };
        Ok((counter("aborts_injected")?, counter("delays_injected")?))
    }

    async fn ask(&self, method: &str, path: &str) -> anyhow::Result<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.admin)).await?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: admin\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

fn configuration(listen: u16, admin: u16, upstream: u16) -> String {
    const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";
    format!(
        r#"
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
layered_runtime: {{layers: [{{name: admin, admin_layer: {{}}}}]}}
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {listen}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {TYPES}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: store
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: store, timeout: 0s}}}}]}}
          http_filters:
          - name: envoy.filters.http.fault
            typed_config:
              "@type": {TYPES}.http.fault.v3.HTTPFault
              abort: {{http_status: 503, percentage: {{numerator: 0, denominator: HUNDRED}}}}
              delay: {{fixed_delay: 2s, percentage: {{numerator: 0, denominator: HUNDRED}}}}
          - name: envoy.filters.http.router
            typed_config: {{"@type": {TYPES}.http.router.v3.Router}}
  clusters:
  - name: store
    connect_timeout: 2s
    type: STATIC
    load_assignment:
      cluster_name: store
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]
"#
    )
}
