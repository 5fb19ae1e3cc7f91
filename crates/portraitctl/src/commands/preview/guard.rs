//! Which requests are answered. Pure: it looks at the headers and the path of a request.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, StatusCode};

/// Where the requests are that need the token. The page itself has nothing to hide.
pub(super) const API: &str = "/api/";

/// What a page must send to see anything: 128 random bits in hexadecimal digits.
pub(super) struct Token(String);

impl Token {
    /// # Errors
    /// The error of the kernel's random device.
    pub(super) fn random() -> io::Result<Self> {
        let mut bytes = [0u8; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Compares in a time that does not depend on where the texts differ.
    fn matches(&self, sent: &[u8]) -> bool {
        let expected = self.0.as_bytes();
        let different =
            expected.iter().zip(sent).fold(0, |different, (a, b)| std::hint::black_box(different | (a ^ b)));
        expected.len() == sent.len() && different == 0
    }
}

/// Decides which requests are answered.
pub(super) struct Guard {
    token: Token,
    loopback: bool,
}

/// Why a request is not answered: the status, and a text for whoever reads it.
pub(super) type Refusal = (StatusCode, &'static str);

/// The only value of a header; `Err` if there are several or it is no text.
fn only(headers: &HeaderMap, name: impl Into<HeaderName>) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name.into()).iter();
    let value = values.next().map(|value| value.to_str().map_err(drop)).transpose()?;
    if values.next().is_some() { Err(()) } else { Ok(value) }
}

impl Guard {
    /// `address` is the one that is listened on.
    pub(super) const fn new(token: Token, address: IpAddr) -> Self {
        Self { token, loopback: address.is_loopback() }
    }

    /// Whether a browser that was sent here by its user names us so. A page of another site that has
    /// changed its DNS entry to our address (DNS rebinding) sends the name of its site. The port is
    /// that of a forwarding perhaps.
    fn is_our_name(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        name == "localhost" || literal.parse::<IpAddr>().is_ok_and(|address| !self.loopback || address.is_loopback())
    }

    /// Checks a request.
    ///
    /// # Errors
    /// The answer, if the request is refused.
    pub(super) fn check(&self, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        const STRANGE: Refusal = (StatusCode::BAD_REQUEST, "A header that counts is there twice or is no text.");
        let Some(host) = only(headers, HOST).map_err(|()| STRANGE)? else {
            return Err((StatusCode::BAD_REQUEST, "A request needs the header Host."));
        };
        if !self.is_our_name(host) {
            return Err((StatusCode::FORBIDDEN, "Open the page by the address that `portraitctl preview` printed."));
        }
        const FOREIGN: Refusal = (StatusCode::FORBIDDEN, "Requests of other sites are not answered.");
        let origin = only(headers, ORIGIN).map_err(|()| STRANGE)?;
        if origin.is_some_and(|origin| origin.strip_prefix("http://") != Some(host)) {
            return Err(FOREIGN);
        }
        // The page may be opened by a link from anywhere, such as a terminal in a browser.
        let site = only(headers, HeaderName::from_static("sec-fetch-site")).map_err(|()| STRANGE)?;
        if path != "/" && site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            return Err(FOREIGN);
        }
        if !path.starts_with(API) {
            return Ok(());
        }
        match only(headers, AUTHORIZATION).map_err(|()| STRANGE)?.and_then(|value| value.strip_prefix("Bearer ")) {
            Some(sent) if self.token.matches(sent.as_bytes()) => Ok(()),
            Some(_) => Err((
                StatusCode::FORBIDDEN,
                "This token is not valid (any more). Open the address that `portraitctl preview` printed last.",
            )),
            None => Err((StatusCode::UNAUTHORIZED, "Open the whole address that `portraitctl preview` printed.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const HERE: &str = "127.0.0.1:8080";

    fn check(address: &str, path: &str, headers: &[(&'static str, &str)]) -> Option<u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
        }
        let guard = Guard::new(Token("0123".into()), address.parse().expect("an address"));
        guard.check(path, &map).err().map(|(status, _)| status.as_u16())
    }

    #[test]
    fn tokens_differ_and_are_compared_whole() {
        let (a, b) = (Token::random().expect("random"), Token::random().expect("random"));
        assert_eq!(a.text().len(), 32);
        assert_ne!(a.text(), b.text());
        assert!(a.matches(a.text().as_bytes()));
        assert!(!a.matches(b.text().as_bytes()) && !a.matches(b"") && !a.matches(&a.text().as_bytes()[..31]));
    }

    #[test]
    fn the_token_is_needed_for_everything_but_the_page() {
        let api = |authorization: &[(&'static str, &str)]| {
            check("127.0.0.1", "/api/cameras", &[&[("host", HERE)], authorization].concat())
        };
        assert_eq!(api(&[("authorization", "Bearer 0123")]), None);
        assert_eq!(api(&[]), Some(401));
        for wrong in ["Bearer 0124", "Bearer 01234", "Bearer 012", "Bearer "] {
            assert_eq!(api(&[("authorization", wrong)]), Some(403), "{wrong}");
        }
        assert_eq!(api(&[("authorization", "Basic 0123")]), Some(401));
        assert_eq!(api(&[("authorization", "Bearer 0123"), ("authorization", "Bearer 9")]), Some(400));
        for path in ["/", "/preview.js", "/api"] {
            assert_eq!(check("127.0.0.1", path, &[("host", HERE)]), None, "{path}");
        }
    }

    #[test]
    fn a_host_is_an_address_or_localhost() {
        let host = |address: &str, host: &str| check(address, "/", &[("host", host)]);
        for ours in [HERE, "127.0.0.1", "localhost:9000", "[::1]:8080", "localhost"] {
            assert_eq!(host("127.0.0.1", ours), None, "{ours}");
        }
        for other in [
            "evil.example:8080",
            "evil.example",
            "192.0.2.7:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example:1",
            "",
            "[::1",
        ] {
            assert_eq!(host("127.0.0.1", other), Some(403), "{other}");
        }
        assert_eq!(check("127.0.0.1", "/", &[]), Some(400));
        assert_eq!(check("127.0.0.1", "/", &[("host", HERE), ("host", HERE)]), Some(400));
        // An address of the network is no name that somebody else can change.
        assert_eq!(host("0.0.0.0", "192.0.2.7:8080"), None);
        assert_eq!(host("0.0.0.0", "evil.example:8080"), Some(403));
    }

    #[test]
    fn other_sites_are_refused() {
        let with =
            |path: &str, name: &'static str, value: &str| check("127.0.0.1", path, &[("host", HERE), (name, value)]);
        assert_eq!(with("/", "origin", "http://127.0.0.1:8080"), None);
        for origin in
            ["http://127.0.0.1:9999", "http://localhost:8080", "https://127.0.0.1:8080", "null", "http://evil.example"]
        {
            assert_eq!(with("/", "origin", origin), Some(403), "{origin}");
        }
        assert_eq!(with("/preview.js", "sec-fetch-site", "same-origin"), None);
        for site in ["cross-site", "same-site"] {
            assert_eq!(with("/preview.js", "sec-fetch-site", site), Some(403));
        }
        assert_eq!(with("/", "sec-fetch-site", "cross-site"), None, "a link");
    }
}
