//! Client addresses for servers: the PROXY header, and the address that a connection comes from.

use crate::addr::UpstreamAddr;
use crate::config::compile::report::Report;
use crate::config::diagnostic::did_you_mean;
use crate::config::file::{self, Spanned};
use crate::upstream::{self, ProxyProtocol, Tlvs};

/// The facts that servers learn.
pub(super) struct Origin {
    pub(super) proxy_protocol: Option<ProxyProtocol>,
    pub(super) transparent: bool,
}

/// Nothing after a mistake, which has been reported.
pub(super) fn compile(
    table: &file::Upstream,
    servers: &[UpstreamAddr],
    report: &mut Report<'_>,
) -> Option<Origin> {
    let begin = report.mark();
    let tlvs = tlvs(table, report);
    let proxy_protocol = table
        .proxy_protocol
        .as_ref()
        .map(|version| match version.value {
            file::ProxyProtocol::V1 => ProxyProtocol::V1,
            file::ProxyProtocol::V2 => ProxyProtocol::V2(tlvs),
        });
    let transparent = table
        .transparent
        .as_ref()
        .filter(|transparent| transparent.value);
    let unix = servers
        .iter()
        .find(|server| matches!(server, UpstreamAddr::Unix(_)));
    if let (Some(transparent), Some(unix)) = (transparent, unix) {
        let message = format!("transparent: {unix} is a unix socket, which sees no address");
        report.error(
            &transparent.span,
            message,
            "tell it the address by `proxy_protocol` instead".to_owned(),
        );
    }
    report.is_sound_since(begin).then_some(Origin {
        proxy_protocol,
        transparent: transparent.is_some(),
    })
}

fn tlvs(table: &file::Upstream, report: &mut Report<'_>) -> Tlvs {
    let mut tlvs = Tlvs::default();
    let Some(list) = &table.proxy_protocol_tlvs else {
        return tlvs;
    };
    match table.proxy_protocol.as_ref().map(|version| version.value) {
        Some(file::ProxyProtocol::V2) if list.0.is_empty() => {
            report.error(
                &list.span,
                "proxy_protocol_tlvs is empty",
                "leave it out".to_owned(),
            );
        }
        Some(file::ProxyProtocol::V2) => {}
        Some(file::ProxyProtocol::V1) => {
            let message = "proxy_protocol_tlvs: a header of version 1 has nothing but addresses";
            report.error(
                &list.span,
                message,
                "write `proxy_protocol = \"v2\"`".to_owned(),
            );
        }
        None => {
            let message = "proxy_protocol_tlvs has no effect without proxy_protocol";
            report.error(
                &list.span,
                message,
                "add `proxy_protocol = \"v2\"`".to_owned(),
            );
        }
    }
    for word in &list.0 {
        match tlvs.word_mut(word) {
            Some(chosen) if !*chosen => *chosen = true,
            Some(_) => {
                report.error(
                    &word.span,
                    format_args!("proxy_protocol_tlvs: {:?} stands there twice", word.value),
                    None,
                );
            }
            None => {
                let help = did_you_mean(word, Tlvs::WORDS)
                    .unwrap_or_else(|| format!("there are {}", Tlvs::WORDS.join(", ")));
                report.error(
                    &word.span,
                    format_args!("proxy_protocol_tlvs: {:?} is none of them", word.value),
                    help,
                );
            }
        }
    }
    if tlvs.client_certificate && !tlvs.ssl {
        let message =
            "proxy_protocol_tlvs: client_certificate is a part of ssl, which is not there";
        report.error(&list.span, message, "add `\"ssl\"`".to_owned());
    }
    tlvs
}

/// In passthrough the session is not seen: what a header would say of it, it never could.
pub(super) fn lint_passthrough(
    upstream: &upstream::UpstreamOptions,
    name: Option<&Spanned<String>>,
    report: &mut Report<'_>,
) -> Option<()> {
    let (Some(ProxyProtocol::V2(tlvs)), Some(name)) = (upstream.proxy_protocol, name) else {
        return Some(());
    };
    let unseen = [(tlvs.alpn, "alpn"), (tlvs.ssl, "ssl")]
        .into_iter()
        .find(|(chosen, _)| *chosen);
    let Some((_, word)) = unseen else {
        return Some(());
    };
    let message = format!(
        "upstreams.{} has {word:?} in `proxy_protocol_tlvs`, which says something of the session with the client: with \
         action = \"passthrough\" nobody but the server knows",
        upstream.name
    );
    let help = format!("write `action = \"terminate\"`, or name an upstream without {word:?}");
    report.error(&name.span, message, help);
    None
}
