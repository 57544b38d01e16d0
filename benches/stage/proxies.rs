//! ronde, nginx, HAProxy and the floor, each started in front of its backends.

use crate::stage::backends::start_nginx;
use crate::stage::process::Process;
use crate::stage::site::Site;
use crate::stage::tls::{self, Pair};
use crate::stage::tools::Tool;
use crate::stage::{http, ports, site};
use anyhow::{Context, Result};
use rustls::client::Resumption;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use tempfile::TempDir;

/// Flags for ronde in every run. Like its peers it keeps idle connections for long, and it writes nothing.
const RONDE: &str = "--access-log off --log-level error --keep-alive-timeout 1h --backend-keep-alive-timeout 1h \
                     --shutdown-grace 0s";

/// A proxy program.
#[derive(Clone, Debug)]
pub enum Kind {
    Ronde {
        program: Tool,
    },
    Nginx {
        program: Tool,
    },
    Haproxy {
        program: Tool,
    },
    /// A relay that understands nothing. Its program is a bench, which `argument` makes the floor.
    Floor {
        program: Tool,
        argument: &'static str,
    },
}

impl Kind {
    pub fn program(&self) -> &Tool {
        match self {
            Self::Ronde { program }
            | Self::Nginx { program }
            | Self::Haproxy { program }
            | Self::Floor { program, .. } => program,
        }
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    pub process: Process,
    _directory: TempDir,
}

impl Proxy {
    /// Starts a proxy in front of these backends and waits until it answers for some of its names, so that no error page is
    /// measured. With a certificate it speaks TLS with its clients, and nothing else. `flags` are for ronde only.
    ///
    /// # Errors
    /// The proxy does not start; the error contains its output.
    pub fn start(
        kind: &Kind,
        site: Site,
        tls: Option<&Pair>,
        backends: &[SocketAddr],
        flags: &[&str],
    ) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("ronde-bench-proxy-").tempdir()?;
        let address = ports::free()?;
        let texts = || backends.iter().map(SocketAddr::to_string);
        let process = match kind {
            Kind::Ronde { program } => {
                let mut arguments = match tls {
                    None => vec![format!("--listen={address}")],
                    Some(pair) => vec![
                        format!("--listen={}", ports::free()?),
                        format!("--tls-listen={address}"),
                        format!("--tls-certificate={}", pair.certificate.display()),
                        format!("--tls-key={}", pair.key.display()),
                    ],
                };
                arguments.extend(RONDE.split_whitespace().map(str::to_owned));
                arguments.extend(flags.iter().map(|&flag| flag.to_owned()));
                match site.ronde(backends) {
                    Some(settings) => {
                        let file = directory.path().join("ronde.toml");
                        fs::write(&file, settings)?;
                        arguments.push(format!("--config={}", file.display()));
                    }
                    None => arguments.extend(texts()),
                }
                Process::start("ronde", &program.path, &arguments, directory.path().join("output"))?
            }
            Kind::Nginx { program } => {
                let (servers, blocks) = site.nginx(address, backends, include_str!("nginx-server.conf"));
                let settings = include_str!("nginx.conf");
                let settings = settings.replace("@SERVERS@", &servers).replace("@BLOCKS@", &blocks);
                let (option, lines) = site::nginx_tls(tls);
                let settings = settings.replace("@TLS@", &lines).replace("@SSL@", option);
                start_nginx("nginx", program, &directory, &settings)?
            }
            Kind::Haproxy { program } => {
                let map = directory.path().join("names.map");
                fs::write(&map, site.haproxy_map())?;
                let (rule, servers) = site.haproxy(backends, &map.display().to_string());
                let settings = include_str!("haproxy.cfg").replace("@LISTEN@", &address.to_string());
                let (option, scheme) = site::haproxy_tls(tls);
                let settings = settings.replace("@TLS@", &option).replace("@SCHEME@", scheme);
                let settings = settings.replace("@RULE@", &rule).replace("@SERVERS@", &servers);
                start_haproxy(program, directory.path(), &settings)?
            }
            Kind::Floor { program, argument } => {
                let arguments = [(*argument).to_owned(), address.to_string()];
                let arguments: Vec<_> = arguments.into_iter().chain(texts()).collect();
                Process::start("floor", &program.path, &arguments, directory.path().join("output"))?
            }
        };
        let names = site.names();
        let client = tls::client(Resumption::disabled())?;
        for name in [names.first(), names.get(names.len() / 2), names.last()].into_iter().flatten() {
            let ask = || match tls {
                None => http::ask(address, name, "/100"),
                Some(_) => tls::ask(address, &client, name, "/100"),
            };
            http::await_success(ask).with_context(|| process.output())?;
        }
        Ok(Self { address, process, _directory: directory })
    }
}

fn start_haproxy(program: &Tool, directory: &Path, settings: &str) -> Result<Process> {
    let file = directory.join("haproxy.cfg");
    fs::write(&file, settings)?;
    let arguments = ["-db".to_owned(), "-f".to_owned(), file.display().to_string()];
    Process::start("haproxy", &program.path, &arguments, directory.join("output"))
}
