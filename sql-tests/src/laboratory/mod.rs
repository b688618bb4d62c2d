//! A laboratory of faults: real processes, of which executors are killed, frozen, cut off and starved while queries run.

mod disk;
mod executor;
mod network;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rand::RngExt;
use rand::rngs::StdRng;
use tempfile::TempDir;
use tokio::process::Command;
use tokio_postgres::Client;

pub use disk::{PAGE_BYTES, SmallDisk};
pub use executor::{Executor, Place};
pub use network::{Cut, Network};

use crate::{Options, TestCluster, rows, send_signal};

/// What happens while a query runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// An executor is killed; one that has its files comes in its place.
    Killed,
    /// An executor is killed, and its files are gone.
    Gone,
    /// Two are killed, the second a moment later.
    Two,
    /// All are killed, and come back with their files.
    All,
    /// All are killed, and others come after five seconds.
    AllAnew,
    /// One is frozen for longer than the server waits for it.
    Frozen,
    /// One and the coordinator do not hear of each other for four seconds.
    CutOff(Cut),
    /// Two executors do not hear of each other for four seconds.
    CutApart(Cut),
    /// One's cable is out for four seconds.
    Unplugged,
    /// One loses packets of all others until the query has ended.
    Lossy(f64),
    /// One has a disk of 128 kB.
    DiskFull,
    /// One reads and writes of whose files fail now and then.
    BadDisk,
}

impl Fault {
    /// Those for which nothing but the processes is needed.
    pub const OF_PROCESSES: [Self; 6] =
        [Self::Killed, Self::Gone, Self::Two, Self::All, Self::AllAnew, Self::Frozen];
    /// Those for which a network of namespaces is needed.
    pub const OF_NETWORKS: [Self; 7] = [
        Self::CutOff(Cut::Drop),
        Self::CutOff(Cut::Reset),
        Self::CutApart(Cut::Drop),
        Self::CutApart(Cut::Reset),
        Self::Unplugged,
        Self::Lossy(0.1),
        Self::Lossy(0.3),
    ];
    /// Those of disks.
    pub const OF_DISKS: [Self; 2] = [Self::DiskFull, Self::BadDisk];

    /// The SQLSTATEs with which a query may fail, besides being answered.
    pub fn may_end_in(self) -> &'static [&'static str] {
        match self {
            Self::BadDisk => &["58030", "58000"],
            // Executors that are alive but do not reach each other for longer than is tried again.
            Self::CutApart(_) | Self::Lossy(_) => &["58030", "58000"],
            _ => &[],
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cut = |cut: &Cut| match cut {
            Cut::Drop => "packets vanish".to_owned(),
            Cut::Reset => "connections are reset".to_owned(),
            Cut::Loss(share) => format!("{:.0} % of packets vanish", share * 100.0),
        };
        match self {
            Self::Killed => write!(f, "an executor is killed (SIGKILL); one with its files takes its place"),
            Self::Gone => write!(f, "an executor is killed and its files are gone"),
            Self::Two => {
                write!(f, "two executors are killed, up to 0.7 s apart, with or without their files")
            }
            Self::All => write!(f, "all executors are killed, and replaced at once with their files"),
            Self::AllAnew => {
                write!(f, "all executors are killed and their files gone; others come after 5 s")
            }
            Self::Frozen => write!(f, "an executor is frozen (SIGSTOP) for 2.8 s"),
            Self::CutOff(how) => write!(f, "between an executor and the coordinator {} for 4 s", cut(how)),
            Self::CutApart(how) => write!(f, "between two executors {} for 4 s", cut(how)),
            Self::Unplugged => write!(f, "an executor's link is down for 4 s"),
            Self::Lossy(share) => write!(f, "{:.0} % of an executor's packets vanish", share * 100.0),
            Self::DiskFull => write!(f, "an executor's disk has 128 kB"),
            Self::BadDisk => write!(f, "1 of 200 reads of an executor's files fails (EIO)"),
        }
    }
}

/// A server and executors that join it, on this machine or in namespaces of it.
pub struct Laboratory {
    /// The server.
    pub cluster: TestCluster,
    binary: PathBuf,
    secret_file: PathBuf,
    parent: TempDir,
    network: Option<Network>,
    executors: Vec<Executor>,
    folders: usize,
    mounts: Vec<PathBuf>,
}

impl Laboratory {
    /// Starts `binary` with `count` executors that join it, each in a network namespace when `apart`.
    pub async fn start(
        binary: &Path,
        mut options: Options,
        count: usize,
        apart: bool,
    ) -> anyhow::Result<Self> {
        let parent = TempDir::new()?;
        let secret_file = parent.path().join("secret");
        std::fs::write(&secret_file, "of the laboratory, and of it alone".repeat(2))?;
        let network = if apart { Some(Network::make(count).await?) } else { None };
        options.executors = 0;
        options.flags.extend(["--secret-file".to_owned(), secret_file.to_string_lossy().into_owned()]);
        let host = network.as_ref().map_or(Ipv4Addr::LOCALHOST, Network::server);
        options.cluster_listen = Some(SocketAddr::from((host, 0)));
        let cluster = TestCluster::start(binary, &options).await?;
        let mut laboratory = Self {
            cluster,
            binary: binary.to_owned(),
            secret_file,
            parent,
            network,
            executors: Vec::new(),
            folders: 0,
            mounts: Vec::new(),
        };
        for at in 0..count {
            let folder = laboratory.fresh_folder();
            let executor = laboratory.started(at, &folder, true, &[])?;
            laboratory.executors.push(executor);
        }
        Ok(laboratory)
    }

    /// Resolves when as many executors are alive as there are.
    pub async fn until_all_are_back(&self, watcher: &Client) -> anyhow::Result<()> {
        let all = async {
            while rows(watcher, "select count(*) from sys.executors").await[0][0]
                != self.executors.len().to_string()
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(40), all).await.context("executors do not come back")
    }

    /// Makes `fault` happen. Resolves when it is over, or when it has begun where it lasts until [`Self::heal`].
    pub async fn inject(&mut self, fault: Fault, random: &mut StdRng) -> anyhow::Result<()> {
        let count = self.executors.len();
        let at = random.random_range(0..count);
        let other = (at + 1) % count;
        match fault {
            Fault::Killed => self.replace(at, true, random)?,
            Fault::Gone => self.replace(at, false, random)?,
            Fault::Two => {
                self.replace(at, true, random)?;
                tokio::time::sleep(Duration::from_millis(random.random_range(0..700))).await;
                let with_files = random.random_bool(0.5);
                self.replace(other, with_files, random)?;
            }
            Fault::All => {
                for at in 0..count {
                    self.replace(at, true, random)?;
                }
            }
            Fault::AllAnew => {
                for executor in &mut self.executors {
                    executor.kill()?;
                }
                tokio::time::sleep(Duration::from_secs(5)).await;
                for at in 0..count {
                    self.replace(at, false, random)?;
                }
            }
            Fault::Frozen => {
                let process = self.executors[at].process_id();
                send_signal("STOP", process).await?;
                tokio::time::sleep(Duration::from_millis(2800)).await;
                send_signal("CONT", process).await?;
            }
            Fault::CutOff(how) => {
                let network = self.network()?;
                self.cut(at, &[network.server()], how).await?;
            }
            Fault::CutApart(how) => {
                let network = self.network()?;
                self.cut(at, &[network.address(other)], how).await?;
            }
            Fault::Unplugged => {
                self.network()?.unplug(at).await?;
                tokio::time::sleep(Duration::from_secs(4)).await;
                self.heal().await?;
            }
            Fault::Lossy(share) => {
                let network = self.network()?;
                let others: Vec<Ipv4Addr> = (0..count)
                    .filter(|node| *node != at)
                    .map(|node| network.address(node))
                    .chain([network.server()])
                    .collect();
                network.cut(at, &others, Cut::Loss(share)).await?;
            }
            Fault::DiskFull => {
                let folder = self.fresh_folder();
                std::fs::create_dir_all(&folder)?;
                mount_small(&folder).await?;
                self.mounts.push(folder.clone());
                self.executors[at].kill()?;
                self.executors[at] = self.started(at, &folder, false, &[])?;
            }
            Fault::BadDisk => {
                let folder = self.fresh_folder();
                self.executors[at].kill()?;
                self.executors[at] = self.started(at, &folder, false, &failing_reads()?)?;
            }
        }
        Ok(())
    }

    /// Kills all executors. Nothing comes in their place.
    pub fn kill_all(&mut self) -> anyhow::Result<()> {
        self.executors.iter_mut().try_for_each(Executor::kill)
    }

    /// Ends what lasts, so that all executors are as they should be.
    pub async fn heal(&mut self) -> anyhow::Result<()> {
        if let Some(network) = &self.network {
            network.heal().await?;
        }
        Ok(())
    }

    /// Puts sound executors in the place of those that faults of disks were given.
    pub fn repair_disks(&mut self) -> anyhow::Result<()> {
        for at in 0..self.executors.len() {
            let folder = self.fresh_folder();
            self.executors[at].kill()?;
            self.executors[at] = self.started(at, &folder, true, &[])?;
        }
        self.unmount();
        Ok(())
    }

    /// The processes that run, the server's first.
    pub fn processes(&mut self) -> Vec<u32> {
        let executors = self
            .executors
            .iter_mut()
            .filter_map(|executor| executor.is_running().then(|| executor.process_id()));
        std::iter::once(self.cluster.process_id()).chain(executors).collect()
    }

    fn network(&self) -> anyhow::Result<&Network> {
        self.network.as_ref().context("this laboratory has no network")
    }

    async fn cut(&self, at: usize, others: &[Ipv4Addr], how: Cut) -> anyhow::Result<()> {
        self.network()?.cut(at, others, how).await?;
        tokio::time::sleep(Duration::from_secs(4)).await;
        self.network()?.heal().await
    }

    fn fresh_folder(&mut self) -> PathBuf {
        self.folders += 1;
        self.parent.path().join(format!("executor-{}", self.folders))
    }

    /// Kills the executor at `at`, whose files go with it or over to the one in its place.
    fn replace(&mut self, at: usize, with_files: bool, random: &mut StdRng) -> anyhow::Result<()> {
        let folder = if with_files { self.executors[at].folder.clone() } else { self.fresh_folder() };
        self.executors[at].kill()?;
        if !with_files {
            let _ = std::fs::remove_dir_all(&self.executors[at].folder);
        }
        // One that is supervised is waited for: half of those without files, too.
        let is_supervised = with_files || random.random_bool(0.5);
        self.executors[at] = self.started(at, &folder, is_supervised, &[])?;
        Ok(())
    }

    fn started(
        &self,
        at: usize,
        folder: &Path,
        is_supervised: bool,
        before: &[String],
    ) -> anyhow::Result<Executor> {
        let space = self.network.as_ref().map(|network| (network.space(at), network.address(at).to_string()));
        let place = Place {
            binary: self.binary.clone(),
            coordinator: self.cluster.cluster.to_string(),
            secret_file: self.secret_file.clone(),
            space,
            threads: 1,
            memory: "512MB".to_owned(),
        };
        Executor::start(&place, folder, is_supervised, before)
    }

    fn unmount(&mut self) {
        for folder in self.mounts.drain(..) {
            let _ = std::process::Command::new("umount").arg(folder).status();
        }
    }
}

impl Drop for Laboratory {
    fn drop(&mut self) {
        self.executors.clear();
        self.unmount();
    }
}

/// The error says that the machine does not allow faults of disks.
pub async fn try_disks() -> anyhow::Result<()> {
    failing_reads()?;
    let folder = TempDir::new()?;
    mount_small(folder.path()).await?;
    let status = Command::new("umount").arg(folder.path()).status().await?;
    ensure!(status.success(), "a small disk could not be taken out again");
    Ok(())
}

async fn mount_small(folder: &Path) -> anyhow::Result<()> {
    let status =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=128k", "tmpfs"]).arg(folder).status().await?;
    ensure!(status.success(), "a small disk could not be mounted");
    Ok(())
}

/// Makes one of 200 reads of the program behind it fail: by libfiu, whose library comes before the system's.
fn failing_reads() -> anyhow::Result<Vec<String>> {
    let folders = ["/usr/lib/fiu", "/usr/local/lib/fiu"];
    let Some(folder) = folders.iter().find(|folder| Path::new(folder).is_dir()) else {
        bail!("libfiu is missing: apt-get install fiu-utils");
    };
    Ok(vec![
        "env".to_owned(),
        format!("LD_PRELOAD={folder}/fiu_run_preload.so:{folder}/fiu_posix_preload.so"),
        "FIU_ENABLE=enable_random name=posix/io/rw/pread,probability=0.005".to_owned(),
    ])
}
