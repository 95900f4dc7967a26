//! Outline of a configuration, by which the next one is compared: names, and hashes of values.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::compile::resolver;
use crate::config::diff::keys::{Base, hash, hash_all};
use crate::config::diff::tables::{KeyWriter, TableOutlines, ValueHash};
use crate::config::diff::{TableKind, route};
use crate::config::file;
use crate::config::load::Loaded;
use crate::config::material::Item;
use crate::config::model::{Config, NamedCertificate};
use crate::config::read::Variables;
use crate::config::show;
use crate::config::trust::{Origin, Trust};
use crate::upstream;

/// Things with a name of their own.
type NamedTables = TableOutlines<Arc<str>>;

/// A configuration in short.
#[derive(Debug, Default)]
pub struct Outline {
    listeners: NamedTables,
    routes: NamedTables,
    upstreams: NamedTables,
    /// By upstream and address.
    pub(super) servers: TableOutlines<(Arc<str>, Arc<str>)>,
    tls: NamedTables,
    certificates: NamedTables,
    trust: NamedTables,
    /// Tables that there is one of.
    pub(super) alone: TableOutlines<TableKind>,
    /// By what names them.
    pub(super) contents: BTreeMap<NamedFile, u64>,
    /// The contents of each file that counts.
    files: BTreeMap<PathBuf, u64>,
    /// The variables, whose values are not printed.
    pub(super) variables: Variables,
}

/// A file or directory that a table names.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NamedFile {
    pub(super) kind: TableKind,
    pub(super) name: Arc<str>,
    /// As the configuration names it, with the values of variables.
    pub(super) file: String,
}

impl Outline {
    /// The tables that have a name of their own, beside those of `new`.
    pub(super) fn named<'a>(
        &'a self,
        new: &'a Self,
    ) -> [(TableKind, &'a NamedTables, &'a NamedTables); 6] {
        [
            (TableKind::Listener, &self.listeners, &new.listeners),
            (TableKind::Route, &self.routes, &new.routes),
            (TableKind::Upstream, &self.upstreams, &new.upstreams),
            (TableKind::Tls, &self.tls, &new.tls),
            (
                TableKind::Certificate,
                &self.certificates,
                &new.certificates,
            ),
            (TableKind::Trust, &self.trust, &new.trust),
        ]
    }
}

impl Loaded {
    /// What to remember of the configuration, which was read at `path`; nothing if it is not valid.
    /// Files of which what runs goes on have the contents that they had `before`.
    #[must_use]
    pub fn outline(&self, path: &Path, before: Option<&Outline>) -> Option<Outline> {
        let config = self.config.as_ref()?;
        let base = Base::of(path);
        let mut contents = FileContents {
            loaded: self,
            base: &base,
            before,
            files: BTreeMap::new(),
            places: BTreeMap::new(),
        };
        let table =
            |path: &str, hash: u64, row: &mut KeyWriter<'_>| row.put(path, ValueHash::new(hash));
        let listeners = config.listeners.iter();
        let listeners = listeners.map(|(name, listener)| (Arc::clone(name), listener));
        let certificates = config.certificates.iter();
        let certificates = certificates.map(|(name, named)| (Arc::clone(name), named));
        let tls = config.tls.iter().map(|(name, tls)| (Arc::clone(name), tls));
        let upstreams = upstreams(config);
        let named = upstreams
            .iter()
            .map(|(name, options)| (Arc::clone(name), *options));
        let inherited = route::RouteDefaults::of(config);
        let routes = config.routes.iter();
        let routes = routes.map(|route| (Arc::clone(&route.name), route));
        Some(Outline {
            listeners: TableOutlines::of(listeners, |_, listener, row| {
                let is_inherited = listener.hello_timeout == config.timeouts.hello;
                base.keys(&file::Listener::from(listener), |path, hash| {
                    let is_inherited = is_inherited && path == "timeouts.hello";
                    row.put(path, ValueHash::new(hash).inherited_if(is_inherited));
                });
            }),
            routes: TableOutlines::of(routes, |_, route, row| route::keys(route, &inherited, row)),
            upstreams: TableOutlines::of(named, |_, options, row| {
                let shown = file::Upstream {
                    servers: None,
                    ..show::upstreams::upstream(options)
                };
                base.keys(&shown, |path, hash| table(path, hash, row));
                let order: Vec<_> = options.servers.iter().map(|server| &server.addr).collect();
                table("servers", hash(order), row);
            }),
            servers: TableOutlines::of(servers(&upstreams), |_, server, row| {
                base.keys(&server, |path, hash| table(path, hash, row));
            }),
            tls: TableOutlines::of(tls, |name, tls, row| {
                base.keys(&file::Tls::from(tls), |path, hash| table(path, hash, row));
                let named = tls.ca_files.iter().chain(&tls.crl_files);
                named
                    .chain(&tls.cert_files)
                    .for_each(|path| contents.named(TableKind::Tls, name, path));
            }),
            certificates: TableOutlines::of(certificates, |name, named, row| {
                base.keys(&file::Certificate::from(named), |path, hash| {
                    table(path, hash, row)
                });
                contents.certificate(name, named);
            }),
            trust: TableOutlines::of(trusts(config), |name, trust, row| {
                let shown = file::Trust {
                    pem: None,
                    ..file::Trust::from(trust)
                };
                base.keys(&shown, |path, hash| table(path, hash, row));
                if let Some(inline) = inline(trust) {
                    table("pem", inline, row);
                }
                contents.trust(name, trust);
            }),
            alone: TableOutlines::of(ALONE.map(|kind| (kind, ())).into_iter(), |kind, (), row| {
                alone(config, *kind, &base, |path, hash| table(path, hash, row));
            }),
            contents: contents.places,
            files: contents.files,
            variables: self.variables.clone(),
        })
    }
}

/// The tables that there is one of.
const ALONE: [TableKind; 4] = [
    TableKind::Resolver,
    TableKind::Storage,
    TableKind::Timeouts,
    TableKind::Log,
];

fn alone(config: &Config, kind: TableKind, base: &Base, put: impl FnMut(&str, u64)) {
    match kind {
        TableKind::Resolver => {
            base.keys(&resolver::shown(&config.resolver, show::value::text), put)
        }
        TableKind::Storage => base.keys(&config.storage_section(), put),
        TableKind::Timeouts => base.keys(&show::settings::timeouts(&config.timeouts), put),
        TableKind::Log => base.keys(&config.log_section(), put),
        // The others have names.
        _ => {}
    }
}

/// The upstreams that have a name, by it.
fn upstreams(config: &Config) -> BTreeMap<Arc<str>, &upstream::UpstreamOptions> {
    let mut seen = HashSet::new();
    let used = config
        .routes
        .iter()
        .filter_map(|route| route.action.upstream())
        .filter(|options| options.is_named() && seen.insert(Arc::as_ptr(options)));
    used.map(|options| (Arc::clone(&options.name), &**options))
        .collect()
}

/// Their servers, by upstream and address, each without its address.
fn servers<'a>(
    upstreams: &'a BTreeMap<Arc<str>, &upstream::UpstreamOptions>,
) -> impl Iterator<Item = ((Arc<str>, Arc<str>), file::Server)> + 'a {
    upstreams.iter().flat_map(|(name, options)| {
        let named = |one: &'a upstream::ServerOptions| {
            let address = one.addr.to_string();
            let mut shown = show::servers::server(one, options.balance);
            if let file::Short::Table(table) = &mut shown {
                table.address = None;
            }
            ((Arc::clone(name), Arc::from(address)), shown)
        };
        options
            .servers
            .iter()
            .map(named)
            .collect::<BTreeMap<_, _>>()
    })
}

/// Whom servers are verified against, by name.
fn trusts(config: &Config) -> impl Iterator<Item = (Arc<str>, &Trust)> {
    let all = config.trusts.all();
    let named = all.map(|(name, trust)| (name.map_or("(system)".into(), Arc::clone), trust));
    named.collect::<BTreeMap<_, _>>().into_iter()
}

/// The CAs that stand in the table itself, if any do.
fn inline(trust: &Trust) -> Option<u64> {
    let inline = trust
        .sources
        .iter()
        .find(|source| source.origin == Origin::Inline)?;
    Some(hash_all(inline.authorities.iter().map(|ca| ca.der())))
}

/// The contents of files, as far as they count.
struct FileContents<'a> {
    loaded: &'a Loaded,
    base: &'a Base,
    before: Option<&'a Outline>,
    files: BTreeMap<PathBuf, u64>,
    places: BTreeMap<NamedFile, u64>,
}

impl FileContents<'_> {
    /// Those of the file at `path`, or of the files in a directory, which a table names.
    fn named(&mut self, kind: TableKind, name: &Arc<str>, path: &Path) {
        let loaded = self.loaded;
        let materials = &loaded.files.materials;
        let contents = match materials.is_file(path) {
            true => self.file(path),
            false => {
                // A file that holds both CAs and lists is one file.
                let files: BTreeSet<&PathBuf> = materials.within(path).collect();
                files
                    .into_iter()
                    .fold(0, |all, file| self.file(file).wrapping_add(all))
            }
        };
        self.put(kind, name, self.base.path(path), contents);
    }

    fn certificate(&mut self, name: &Arc<str>, named: &NamedCertificate) {
        let contents = match &named.self_signed {
            None => self.file(&named.cert_file),
            Some(_) if named.is_to_be_made() => hash("to be made"),
            Some(_) => hash(named.certificate.fingerprint()),
        };
        self.put(
            TableKind::Certificate,
            name,
            self.base.path(&named.cert_file),
            contents,
        );
    }

    fn trust(&mut self, name: &Arc<str>, trust: &Trust) {
        let is_named = |file: &Path| {
            let names = |path: &PathBuf| file == path || file.parent() == Some(path);
            trust.ca_files.iter().find(|path| names(path))
        };
        let mut all: BTreeMap<String, u64> = BTreeMap::new();
        for source in &trust.sources {
            let Origin::File(file) = &source.origin else {
                continue;
            };
            let place =
                is_named(file).map_or("the system's store".to_owned(), |path| self.base.path(path));
            let contents = all.entry(place).or_default();
            *contents = contents.wrapping_add(self.file(file));
        }
        for (place, contents) in all {
            self.put(TableKind::Trust, name, place, contents);
        }
    }

    fn put(&mut self, kind: TableKind, name: &Arc<str>, file: String, contents: u64) {
        let place = NamedFile {
            kind,
            name: Arc::clone(name),
            file,
        };
        self.places.insert(place, contents);
    }

    fn file(&mut self, path: &Path) -> u64 {
        let files = &self.loaded.files;
        let before = self.before.and_then(|before| before.files.get(path));
        let is_kept = |path: &Path| files.keep.contains_key(&Item::File(path.to_owned()));
        // What runs counts beside what is there.
        let is_partial = is_kept(path) || path.parent().is_some_and(is_kept);
        let contents = match files.counting(path) {
            Some(digest) => hash((digest, is_partial)),
            None => before.copied().unwrap_or_default(),
        };
        self.files.insert(path.to_owned(), contents);
        contents
    }
}
