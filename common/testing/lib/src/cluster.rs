use std::net::TcpStream;

use anyhow::{Context, Result};

use crate::readme::FIRST_MEMBER;

/// The output of a cluster in the first terminal.
#[derive(Default)]
pub(crate) struct Cluster {
    /// The variables that the cluster has printed for the other terminals.
    printed: Vec<(String, String)>,
    /// The variables that are set in the other terminals.
    pub exported: Vec<(String, String)>,
    /// The processes of the members that have led, in that order.
    pub(crate) processes: Vec<u32>,
}

impl Cluster {
    /// Notes what a line says about the cluster.
    pub(crate) fn note(&mut self, line: &str) {
        if let Some((name, value)) = line.strip_prefix("export ").and_then(|e| e.split_once('=')) {
            self.printed.push((name.to_owned(), value.to_owned()));
        }
        let leader = line.strip_prefix("process ").and_then(|rest| rest.split_once(" leads; "));
        if let Some(leader) = leader.and_then(|(number, _)| number.parse().ok())
            && !self.processes.contains(&leader)
        {
            self.processes.push(leader);
        }
    }

    /// Sets a variable in all other terminals. Fails unless the cluster has printed it.
    pub(crate) fn export(&mut self, variable: &str) -> Result<()> {
        let is = |(name, value): &&(String, String)| {
            self.normalized(&format!("{name}={value}")) == variable
        };
        let printed = self.printed.iter().find(is);
        let printed = printed.with_context(|| format!("the cluster has not printed {variable}"))?;
        self.exported.push(printed.clone());
        Ok(())
    }

    fn addresses(&self) -> impl Iterator<Item = &str> {
        let lists = self.printed.iter().filter(|(name, _)| name == "ETCDCTL_ENDPOINTS");
        let endpoints = lists.flat_map(|(_, list)| list.split(','));
        endpoints.map(|endpoint| endpoint.trim_start_matches("https://"))
    }

    /// Returns how many members can be reached.
    pub(crate) fn count(&self) -> usize {
        self.addresses().filter(|address| TcpStream::connect(address).is_ok()).count()
    }

    /// Returns the line with the ports, process numbers and folder of the README.
    pub(crate) fn normalized(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for (address, port) in self.addresses().zip(10_001..) {
            line = line.replace(address, &format!("127.0.0.1:{port}"));
        }
        for (process, number) in self.processes.iter().zip(FIRST_MEMBER..) {
            line = line.replace(&format!("process {process} "), &format!("process {number} "));
            line = line.replace(&format!("-9 {process}"), &format!("-9 {number}"));
        }
        for (_, path) in self.printed.iter().filter(|(_, value)| value.starts_with('/')) {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            line = line.replace(folder, "/tmp/cluster");
        }
        line
    }
}
