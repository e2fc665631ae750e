//! Reads where requests go: `--upstream URL` and the table `upstreams`, with what is
//! trusted and spoken there.

use umbra_capture::{ClientTls, Route, Transport, Trust, Upstream, UpstreamHttp};

use crate::settings::{Settings, values};

/// The default upstream and the table before it; bad ones become problems.
pub(super) fn upstreams(settings: &mut Settings) -> Option<(Upstream, Vec<Route>)> {
    let mut reader = Reader {
        http: settings.read("upstream-http", upstream_http).unwrap_or_default(),
        trust: None,
        authorities: settings.read("upstream-ca", values::pem_file),
    };
    if let Some(pem) = &reader.authorities {
        match Trust::in_authorities(pem) {
            Ok(trust) => reader.trust = Some(trust),
            Err(error) => settings.problem("upstream-ca", error),
        }
    }
    let mut routes = Vec::new();
    for text in settings.texts("upstreams").to_vec() {
        match reader.route(&text) {
            Ok(route) => routes.push(route),
            Err(what) => settings.problem("upstreams", format!("`{text}`: {what}")),
        }
    }
    let text = settings.text("upstream")?.to_owned();
    match reader.upstream(&text) {
        Ok(upstream) => Some((upstream, routes)),
        Err(what) => {
            settings.problem("upstream", format!("`{text}`: {what}"));
            None
        }
    }
}

/// What all upstreams have in common.
struct Reader {
    http: UpstreamHttp,
    /// Made when the first upstream needs it.
    trust: Option<Trust>,
    authorities: Option<Vec<u8>>,
}

impl Reader {
    /// `host=HOST,path=/PREFIX,upstream=URL`, in any order.
    fn route(&mut self, text: &str) -> Result<Route, String> {
        let (mut host, mut path, mut url) = (None, None, None);
        for part in text.split(',') {
            let (key, value) =
                part.split_once('=').ok_or("expected host=HOST,path=/PREFIX,upstream=URL")?;
            let value = value.trim();
            let place = match key.trim() {
                "host" => &mut host,
                "path" => &mut path,
                "upstream" => &mut url,
                other => return Err(format!("`{other}` is none of host, path and upstream")),
            };
            if place.replace(value).is_some() {
                return Err(format!("`{}` is said twice", key.trim()));
            }
        }
        if host.is_none() && path.is_none() {
            return Err("without host and path it is for all requests: that is --upstream".into());
        }
        let host = host.map(check_host).transpose()?;
        if let Some(path) = path
            && (!path.starts_with('/') || path.contains(['?', '#']))
        {
            return Err("a path begins with / and has no query".into());
        }
        let upstream = self.upstream(url.ok_or("it names no upstream")?)?;
        Ok(Route { host, path: path.map(str::to_owned), upstream })
    }

    fn upstream(&mut self, text: &str) -> Result<Upstream, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return self.unix(text, path, self.http);
        }
        if let Some(path) = text.strip_prefix("unix+h2c:") {
            return self.unix(text, path, self.always_http2()?);
        }
        let wrong =
            || "expected http://, https:// or h2c://HOST[:PORT], unix:PATH or unix+h2c:PATH";
        let uri: http::Uri = text.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err("a path does not belong in it".into());
        }
        if authority.as_str().contains('@') {
            return Err("user and password do not belong in the URL".into());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let (transport, http, usual) = match uri.scheme_str() {
            Some("http") => (Transport::Tcp, self.http, 80),
            Some("h2c") => (Transport::Tcp, self.always_http2()?, 80),
            Some("https") => (Transport::Tls(self.tls(&host)?), self.http, 443),
            _ => return Err(wrong().into()),
        };
        let port = authority.port_u16().unwrap_or(usual);
        Ok(Upstream { url: text.to_owned(), host, port, transport, http })
    }

    fn unix(&self, text: &str, path: &str, http: UpstreamHttp) -> Result<Upstream, String> {
        if path.is_empty() {
            return Err("it names no socket".into());
        }
        let transport = Transport::Unix(path.into());
        let (url, host) = (text.to_owned(), "localhost".to_owned());
        Ok(Upstream { url, host, port: 80, transport, http })
    }

    fn always_http2(&self) -> Result<UpstreamHttp, String> {
        match self.http {
            UpstreamHttp::Http1 => Err("h2c is HTTP/2, and --upstream-http says 1".into()),
            UpstreamHttp::Auto | UpstreamHttp::Http2 => Ok(UpstreamHttp::Http2),
        }
    }

    fn tls(&mut self, host: &str) -> Result<ClientTls, String> {
        let trust = match (&self.trust, &self.authorities) {
            (Some(trust), _) => trust.clone(),
            (None, Some(_)) => return Err("--upstream-ca is of no use".into()),
            (None, None) => Trust::of_system().map_err(|error| error.to_string())?,
        };
        self.trust = Some(trust.clone());
        ClientTls::new(trust, host).map_err(|error| error.to_string())
    }
}

fn check_host(host: &str) -> Result<String, String> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    if name.is_empty() || name.contains(['*', '/', ' ', '@']) {
        return Err(format!("`{host}`: expected a host, host:port or *.example.com"));
    }
    Ok(host.to_owned())
}

fn upstream_http(text: &str) -> Result<UpstreamHttp, String> {
    match text {
        "auto" => Ok(UpstreamHttp::Auto),
        "1" => Ok(UpstreamHttp::Http1),
        "2" => Ok(UpstreamHttp::Http2),
        _ => Err("expected auto, 1 or 2".into()),
    }
}

#[cfg(test)]
mod tests;
