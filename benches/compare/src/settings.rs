//! The settings of each proxy: its templates in `peers/`, filled in for a case.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cases::MANY_ROUTES;
use crate::client::{NAME, numbered};
use crate::paths;
use crate::peers::{Proxy, Surroundings};
use crate::pki::{CERTIFICATES, CLIENT};
use crate::setup::{Form, Setup};

/// A proxy in a case, before it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'a> {
    pub(crate) proxy: Proxy,
    pub(crate) setup: Setup,
    pub(crate) form: Form,
    pub(crate) around: &'a Surroundings,
    pub(crate) port: u16,
}

impl Settings<'_> {
    /// Writes them, and returns the file that the proxy is started with.
    pub(crate) fn write(self) -> anyhow::Result<PathBuf> {
        if self.form == Form::ManyRoutes {
            self.write_routes()?;
        }
        let kind = if self.setup.is_tls() {
            "tls"
        } else {
            "passthrough"
        };
        match self.proxy {
            Proxy::Direct | Proxy::Floor => Ok(PathBuf::new()),
            Proxy::Snigate | Proxy::Before => {
                self.fill("snigate.toml", &format!("snigate-{kind}.toml"))
            }
            Proxy::Nginx | Proxy::NginxCurrent => {
                self.fill("nginx.conf", &format!("nginx-{kind}.conf"))
            }
            Proxy::Haproxy | Proxy::HaproxySplice | Proxy::HaproxyCurrent => {
                self.fill("haproxy.cfg", &format!("haproxy-{kind}.cfg"))
            }
            Proxy::Envoy => self.fill("envoy.yaml", &format!("envoy-{kind}.yaml")),
            Proxy::Traefik => {
                self.fill("dynamic.yaml", &format!("traefik-{kind}.yaml"))?;
                self.fill("traefik.yaml", "traefik.yaml")
            }
        }
    }

    fn fill(self, name: &str, template: &str) -> anyhow::Result<PathBuf> {
        let template = paths::here().join("peers").join(template);
        let text = fs::read_to_string(&template).with_context(|| template.display().to_string())?;
        let pki = self.around.pki.display().to_string();
        // What a proxy says for itself may name the directories, too.
        let text = self
            .words()
            .into_iter()
            .fold(text, |text, (key, value)| text.replace(key, &value));
        let text = [
            ("@NAME@", NAME),
            ("@PORT@", &self.port.to_string()),
            ("@BACKEND@", &self.around.backend.port().to_string()),
            ("@DIR@", &self.around.dir.display().to_string()),
            ("@PKI@", &pki),
        ]
        .iter()
        .fold(text, |text, (key, value)| text.replace(key, value));
        let path = self.around.dir.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// What the proxy's templates leave open.
    fn words(self) -> Vec<(&'static str, String)> {
        match self.proxy {
            Proxy::Direct | Proxy::Floor => Vec::new(),
            Proxy::Snigate | Proxy::Before => self.snigate(),
            Proxy::Nginx | Proxy::NginxCurrent => self.nginx(),
            Proxy::Haproxy | Proxy::HaproxySplice | Proxy::HaproxyCurrent => self.haproxy(),
            Proxy::Envoy => self.envoy(),
            Proxy::Traefik => self.traefik(),
        }
    }

    fn snigate(self) -> Vec<(&'static str, String)> {
        let Self { form, setup, .. } = self;
        let upstream = match form {
            Form::ProxyHeader => {
                "[upstreams.app]\nservers = \"127.0.0.1:@BACKEND@\"\nproxy_protocol = \"v2\""
            }
            Form::LeastConnections => {
                "[upstreams.app]\nservers = [\"127.0.0.1:@BACKEND@\", \"127.0.0.2:@BACKEND@\"]\n\
                 balance = \"least_connections\"\nhealth = true"
            }
            _ => "[upstreams.app]\nservers = \"127.0.0.1:@BACKEND@\"",
        };
        let limits = if form == Form::Limits {
            "max_connections = 20000\nmax_pending = 5000\npending_per_source = 5000\nconnections_per_source = 20000\n\
             rate_per_source = { connections = 1000000, per = \"1s\", burst = 20000 }"
        } else {
            ""
        };
        let mut clients = if setup == Setup::Tls {
            String::new()
        } else {
            "client_auth.mode = \"require_and_verify\"\nclient_auth.ca_files = [\"@PKI@/ca.pem\"]"
                .to_owned()
        };
        if form == Form::List {
            clients += "\nclient_auth.crl_files = [\"@PKI@/list.pem\"]";
        }
        if form == Form::Allow {
            let others: String = (1..100)
                .map(|number| format!("\"another client {number}\", "))
                .collect();
            clients += &format!("\nclient_auth.allow.cn = [{others}\"{CLIENT}\"]");
        }
        let mut certificates =
            "[certificates.app]\ncert_file = \"@PKI@/server.pem\"\nkey_file = \"@PKI@/server-key.pem\"\n".to_owned();
        let mut names = "\"app\"".to_owned();
        if form == Form::Certificates {
            for number in 1..CERTIFICATES {
                names += &format!(", \"app{number}\"");
                certificates += &format!(
                    "[certificates.app{number}]\ncert_file = \"@PKI@/many/{number}.pem\"\n"
                );
            }
        }
        vec![
            ("@UPSTREAM@", upstream.to_owned()),
            ("@LIMITS@", limits.to_owned()),
            ("@CLIENTS@", clients),
            ("@CERTIFICATES@", certificates),
            ("@CERTIFICATE_NAMES@", names),
            (
                "@ACCESS@",
                matches!(form, Form::Log | Form::JsonLog).to_string(),
            ),
            (
                "@FORMAT@",
                if form == Form::JsonLog {
                    "json"
                } else {
                    "text"
                }
                .to_owned(),
            ),
        ]
    }

    fn nginx(self) -> Vec<(&'static str, String)> {
        let current = self.proxy == Proxy::NginxCurrent;
        // Where the module is a file of its own it must be loaded, and where it is built in there
        // is none.
        let module = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
        let module = if !current && module.exists() {
            format!("load_module {};", module.display())
        } else {
            String::new()
        };
        let clients = match self.setup {
            Setup::Tls => "ssl_session_tickets on;",
            Setup::MtlsList => "@VERIFY@\n        ssl_crl @PKI@/list.pem;",
            Setup::MtlsHybrid => "@VERIFY@\n        ssl_ecdh_curve X25519MLKEM768;",
            _ => "@VERIFY@",
        };
        // No resumption: a client is verified each time, and tickets that nobody uses would only
        // cost.
        let verify = "ssl_client_certificate @PKI@/ca.pem;\n        ssl_verify_depth 3;\n        ssl_verify_client on;\n        \
                      ssl_session_tickets off;";
        vec![
            ("@MODULE@", module),
            ("@CLIENTS@", clients.replace("@VERIFY@", verify)),
            (
                "@DEFERRED@",
                if current { "deferred" } else { "" }.to_owned(),
            ),
            (
                "@MULTI_ACCEPT@",
                if current { "on" } else { "off" }.to_owned(),
            ),
            ("@BUFFER@", if current { "256k" } else { "64k" }.to_owned()),
        ]
    }

    fn haproxy(self) -> Vec<(&'static str, String)> {
        let current = self.proxy == Proxy::HaproxyCurrent;
        // By itself it rarely chooses to splice here, even in bulk. To splice always is the
        // cheapest for bulk, and costs a little more for small messages. So the distribution's
        // takes part in both ways.
        let splice = match self.proxy {
            Proxy::HaproxySplice => "option splice-request\n    option splice-response",
            _ => "option splice-auto",
        };
        let clients = match self.setup {
            Setup::Tls => "",
            Setup::MtlsList => "@VERIFY@ crl-file @PKI@/list.pem",
            Setup::MtlsHybrid => "@VERIFY@ curves X25519MLKEM768",
            _ => "@VERIFY@",
        };
        let many = if self.form == Form::ManyRoutes {
            "use_backend %[req.ssl_sni,lower,map(@DIR@/routes.map)]"
        } else {
            ""
        };
        let tune = match (current, self.setup.is_tls()) {
            (true, true) => "tune.bufsize 131072",
            (true, false) => "tune.pipesize 1048576",
            (false, _) => "tune.bufsize 65536",
        };
        vec![
            ("@SPLICE@", splice.to_owned()),
            (
                "@CLIENTS@",
                clients.replace(
                    "@VERIFY@",
                    "ca-file @PKI@/ca.pem verify required no-tls-tickets",
                ),
            ),
            ("@ROUTES@", many.to_owned()),
            ("@TUNE@", tune.to_owned()),
        ]
    }

    fn envoy(self) -> Vec<(&'static str, String)> {
        let list = if self.setup == Setup::MtlsList {
            ", crl: { filename: \"@PKI@/list.pem\" }"
        } else {
            ""
        };
        let groups = if self.setup == Setup::MtlsHybrid {
            ", ecdh_curves: [X25519MLKEM768]"
        } else {
            ""
        };
        let trust =
            format!("validation_context: {{ trusted_ca: {{ filename: \"@PKI@/ca.pem\" }}{list} }}");
        let (required, trust) = if self.setup == Setup::Tls {
            ("false", String::new())
        } else {
            ("true", trust)
        };
        vec![
            ("@REQUIRED@", required.to_owned()),
            ("@TRUST@", trust),
            ("@GROUPS@", groups.to_owned()),
        ]
    }

    fn traefik(self) -> Vec<(&'static str, String)> {
        let groups = if self.setup == Setup::MtlsHybrid {
            "curvePreferences: [X25519MLKEM768]"
        } else {
            ""
        };
        let clients = if self.setup == Setup::Tls {
            ""
        } else {
            "disableSessionTickets: true\n      clientAuth: { caFiles: [\"@PKI@/ca.pem\"], clientAuthType: RequireAndVerifyClientCert }"
        };
        vec![
            ("@GROUPS@", groups.to_owned()),
            ("@CLIENTS@", clients.to_owned()),
        ]
    }

    /// A route for each numbered name.
    fn write_routes(self) -> anyhow::Result<()> {
        let backend = self.around.backend;
        let file = if self.proxy.is_snigate() {
            "routes.d/routes.toml"
        } else {
            "routes.map"
        };
        let mut out = std::io::BufWriter::new(fs::File::create(self.around.dir.join(file))?);
        for number in 0..MANY_ROUTES {
            let name = numbered(number);
            match self.proxy {
                proxy if proxy.is_snigate() => writeln!(
                    out,
                    "[routes.r{number}]\nsni = \"{name}\"\naction = \"passthrough\"\nupstream = \"{backend}\""
                )?,
                Proxy::Haproxy | Proxy::HaproxyCurrent => writeln!(out, "{name} app")?,
                _ => writeln!(out, "{name} {backend};")?,
            }
        }
        Ok(out.flush()?)
    }
}
