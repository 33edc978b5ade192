//! What a client is told when it does not get what it asked for: a status and a sentence, for a program as
//! `application/problem+json` (RFC 9457), for a person as a page.

use bytes::Bytes;
use countersign_policy::DecisionId;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, PROXY_AUTHENTICATE,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::json;

/// A refusal, as the client sees it. `code` is for programs and stable, `detail` is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
    /// The decision that it is, by which an operator finds it.
    pub(crate) decision: Option<DecisionId>,
}

impl Problem {
    /// A problem with this status.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            decision: None,
        }
    }

    /// The request is not one the gateway understands.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// The request belongs on another channel, or names no service.
    pub(crate) fn misdirected(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", detail)
    }

    /// The access token or bearer token is missing or does not hold: what a proxy says of a CONNECT.
    pub(crate) fn token(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PROXY_AUTHENTICATION_REQUIRED, code, detail)
    }

    /// The same where the gateway stands in for a service: there it is not a proxy that asks (RFC 9110, section 15.5.2).
    pub(crate) fn in_place_of_service(mut self) -> Self {
        if self.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            self.status = StatusCode::UNAUTHORIZED;
        }
        self
    }

    /// Policy says no.
    pub(crate) fn denied(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "denied", detail)
    }

    /// The same, with the decision's name.
    pub(crate) fn by(self, decision: DecisionId) -> Self {
        Self {
            decision: Some(decision),
            ..self
        }
    }

    /// The response that carries it to a program.
    pub(crate) fn response(&self) -> Response<Bytes> {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if let (Some(decision), Some(members)) = (self.decision, body.as_object_mut()) {
            members.insert("decision".to_owned(), json!(decision.to_string()));
        }
        self.carry("application/problem+json", format!("{body}\n"))
    }

    /// The response that carries it to `audience`.
    pub(crate) fn response_to(&self, audience: Audience) -> Response<Bytes> {
        if audience == Audience::Program {
            return self.response();
        }
        let mut response = self.carry("text/html; charset=utf-8", self.page());
        let headers = response.headers_mut();
        for (name, value) in [
            (CONTENT_SECURITY_POLICY, PAGE_POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    fn carry(&self, content_type: &'static str, body: String) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let challenge = match self.status {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => PROXY_AUTHENTICATE,
            StatusCode::UNAUTHORIZED => WWW_AUTHENTICATE,
            _ => return response,
        };
        headers.insert(challenge, HeaderValue::from_static("Bearer"));
        response
    }

    fn page(&self) -> String {
        let title = self.status.canonical_reason().unwrap_or("Refused");
        let status = self.status.as_u16();
        let decision = self.decision.map_or_else(String::new, |decision| {
            format!("<dt>Decision</dt><dd><code>{decision}</code></dd>")
        });
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\">\
             <title>{status} {title}</title><style>{PAGE_STYLE}</style></head>\n\
             <body><main><p class=\"status\">{status}</p><h1>{title}</h1>\n\
             <p class=\"detail\">{detail}</p>\n\
             <dl><dt>Code</dt><dd><code>{code}</code></dd>{decision}</dl>\n\
             <p class=\"from\">This is Countersign, the gateway in front of the service, and not the service itself.</p>\
             </main></body></html>\n",
            detail = sentence(&self.detail),
            code = self.code,
        )
    }
}

/// Who reads an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// It gets JSON.
    Program,
    /// They get a page.
    Person,
}

impl Audience {
    /// Who sent a request with these fields: a person, if `text/html` is wanted more than JSON is (RFC 9110, section
    /// 12.5.1). `*/*` is what programs say.
    pub(crate) fn of(request: &HeaderMap) -> Self {
        let (mut page, mut json) = (0.0, 0.0);
        let accepted = request.get_all(ACCEPT).iter();
        let ranges = accepted
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        for range in ranges {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts
                .find_map(|part| part.strip_prefix("q="))
                .map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
            match kind.as_str() {
                "text/html" => page = f32::max(page, quality),
                "application/json" | "application/problem+json" => json = f32::max(json, quality),
                _ => {}
            }
        }
        match page > json {
            true => Self::Person,
            false => Self::Program,
        }
    }
}

/// A detail as a sentence of HTML: what stands in backticks is code, and nothing of it is markup.
fn sentence(detail: &str) -> String {
    let mut html = String::with_capacity(detail.len() + 32);
    for (number, part) in detail.split('`').enumerate() {
        let text = escaped(part);
        match number % 2 {
            0 if number == 0 => html.push_str(&capitalised(&text)),
            0 => html.push_str(&text),
            _ => html.push_str(&format!("<code>{text}</code>")),
        }
    }
    html.push('.');
    html
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}

/// Nothing is loaded and nothing runs; its own style is in it.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE_STYLE: &str = ":root{color-scheme:light dark}\
body{font:1.05rem/1.6 system-ui,sans-serif;margin:0;display:grid;min-height:100vh;place-items:center}\
main{max-width:42rem;padding:2rem}\
.status{font-size:4rem;font-weight:700;line-height:1;margin:0;opacity:.35}\
h1{margin:.2rem 0 1rem;font-size:1.7rem}\
code{font:.92em ui-monospace,monospace;background:#8882;border-radius:.3em;padding:.1em .35em;overflow-wrap:anywhere}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1rem;margin:1.5rem 0}\
dt{opacity:.65}dd{margin:0}\
.from{font-size:.9rem;opacity:.65}";

#[cfg(test)]
mod tests {
    use super::*;

    fn check_audience(accept: &str, expected: Audience) {
        let mut request = HeaderMap::new();
        request.insert(ACCEPT, accept.parse().unwrap());
        assert_eq!(Audience::of(&request), expected, "{accept}");
    }

    #[test]
    fn a_browser_gets_a_page_and_a_program_gets_json() {
        let chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        check_audience(chromium, Audience::Person);
        check_audience("*/*", Audience::Program);
        check_audience("application/json", Audience::Program);
        check_audience(
            "application/problem+json, text/html;q=0.5",
            Audience::Program,
        );
        check_audience("TEXT/HTML", Audience::Person);
        check_audience("text/html;q=0", Audience::Program);
        assert_eq!(Audience::of(&HeaderMap::new()), Audience::Program);
    }

    #[test]
    fn a_page_shows_words_of_the_client_and_takes_none_for_markup() {
        let problem = Problem::denied("`<script>alert('x')</script>` may not reach \"web\" & co");
        let page = problem.page();
        assert!(page.contains(
            "<code>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;</code> may not reach &quot;web&quot; &amp; co."
        ));
        assert!(!page.contains("<script"));
    }

    #[test]
    fn a_decision_is_named_to_program_and_person() {
        let id = DecisionId::from_random([7; 16]);
        let problem = Problem::denied("no grant").by(id);
        let json = String::from_utf8(problem.response().into_body().to_vec()).unwrap();
        assert!(json.contains(&format!("\"decision\":\"{id}\"")), "{json}");
        assert!(problem.page().contains(&id.to_string()));
    }
}
