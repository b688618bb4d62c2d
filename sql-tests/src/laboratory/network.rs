//! Network namespaces on one bridge, between which packets can be lost: where the machine allows it.

use std::net::Ipv4Addr;
use std::process::Stdio;

use anyhow::{Context, ensure};
use tokio::process::Command;

/// How two nodes do not reach each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cut {
    /// Packets vanish.
    Drop,
    /// Connections are refused and reset.
    Reset,
    /// This share of packets vanishes.
    Loss(f64),
}

/// A bridge of this machine, with a namespace for each node. They go when it is dropped.
#[derive(Debug)]
pub struct Network {
    number: u32,
    nodes: usize,
}

impl Network {
    /// Makes a network of `nodes`. The error says that the machine does not allow it.
    pub async fn make(nodes: usize) -> anyhow::Result<Self> {
        let network = Self { number: std::process::id() % 60_000, nodes: 0 };
        network.lay(nodes).await
    }

    async fn lay(mut self, nodes: usize) -> anyhow::Result<Self> {
        let bridge = self.bridge();
        ip(&["link", "add", &bridge, "type", "bridge"]).await?;
        ip(&["addr", "add", &format!("{}/24", self.server()), "dev", &bridge]).await?;
        ip(&["link", "set", &bridge, "up"]).await?;
        for node in 0..nodes {
            let (space, outer, inner) = (self.space(node), self.outer(node), self.inner(node));
            ip(&["netns", "add", &space]).await?;
            // Counted as soon as there is anything to take away.
            self.nodes = node + 1;
            ip(&["link", "add", &outer, "type", "veth", "peer", "name", &inner]).await?;
            ip(&["link", "set", &outer, "master", &bridge, "up"]).await?;
            ip(&["link", "set", &inner, "netns", &space]).await?;
            let address = format!("{}/24", self.address(node));
            ip(&["-n", &space, "addr", "add", &address, "dev", &inner]).await?;
            ip(&["-n", &space, "link", "set", &inner, "up"]).await?;
            ip(&["-n", &space, "link", "set", "lo", "up"]).await?;
        }
        Ok(self)
    }

    fn bridge(&self) -> String {
        format!("slbr{}", self.number)
    }

    fn outer(&self, node: usize) -> String {
        format!("sl{}o{node}", self.number)
    }

    fn inner(&self, node: usize) -> String {
        format!("sl{}i{node}", self.number)
    }

    /// The name of a node's namespace.
    pub fn space(&self, node: usize) -> String {
        format!("sluice{}n{node}", self.number)
    }

    /// The address of this machine on the bridge.
    pub fn server(&self) -> Ipv4Addr {
        self.host(1)
    }

    /// The address of a node.
    pub fn address(&self, node: usize) -> Ipv4Addr {
        self.host(10 + node as u8)
    }

    fn host(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 200 + (self.number / 256 % 50) as u8, (self.number % 256) as u8, host)
    }

    /// Cuts a node off from `others`.
    pub async fn cut(&self, node: usize, others: &[Ipv4Addr], how: Cut) -> anyhow::Result<()> {
        let probability = if let Cut::Loss(share) = how { share.to_string() } else { String::new() };
        for other in others {
            let other = other.to_string();
            for (chain, side) in [("INPUT", "-s"), ("OUTPUT", "-d")] {
                let mut rule = vec!["-w", "-A", chain, side, &other];
                match how {
                    Cut::Drop => rule.extend(["-j", "DROP"]),
                    Cut::Reset => rule.extend(["-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset"]),
                    Cut::Loss(_) => rule.extend([
                        "-m",
                        "statistic",
                        "--mode",
                        "random",
                        "--probability",
                        &probability,
                        "-j",
                        "DROP",
                    ]),
                }
                self.filter(node, &rule).await?;
            }
        }
        Ok(())
    }

    /// Takes a node's cable out.
    pub async fn unplug(&self, node: usize) -> anyhow::Result<()> {
        ip(&["link", "set", &self.outer(node), "down"]).await
    }

    /// Everybody reaches everybody again.
    pub async fn heal(&self) -> anyhow::Result<()> {
        for node in 0..self.nodes {
            self.filter(node, &["-w", "-F"]).await?;
            ip(&["link", "set", &self.outer(node), "up"]).await?;
        }
        Ok(())
    }

    async fn filter(&self, node: usize, rule: &[&str]) -> anyhow::Result<()> {
        run(Command::new("ip").args(["netns", "exec", &self.space(node), "iptables"]).args(rule)).await
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What cannot be taken away here goes with the machine.
        let take = |arguments: &[&str]| {
            let _ = std::process::Command::new("ip").args(arguments).stderr(Stdio::null()).status();
        };
        (0..self.nodes).for_each(|node| take(&["netns", "del", &self.space(node)]));
        take(&["link", "del", &self.bridge()]);
    }
}

async fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    run(Command::new("ip").args(arguments)).await
}

async fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().await.with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
