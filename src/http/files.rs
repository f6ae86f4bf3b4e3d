//! Static files: `ServeDir` behind one guard.
//!
//! The guard decides which paths may be asked for at all (plain names, no dotfiles), the
//! confined tree which files they may reach, and `ServeDir` does the HTTP: types, ranges,
//! conditions, precompressed variants. What is refused looks like what does not exist, so the
//! caller answers both alike; nothing here knows about rooms or the list of reserved names.
//!
//! Entity tags are strong in form and made of size and modification time in nanoseconds: a file
//! replaced by one of the same size *and* the same time keeps its tag. Deployments that set all
//! times to one value should change file names instead.

mod confined;

use std::{io, path::Path};

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tower_http::services::{
    ServeDir,
    fs::{Backend as _, DefaultServeDirFallback},
};

use self::confined::Tree;

/// What a browser asks for when it asks for a directory.
const INDEX: &str = "index.html";

/// RFC 8615 puts public files of the site below this name, at the top only.
const WELL_KNOWN: &str = ".well-known";

/// All but RFC 3986 unreserved characters, as everywhere in the project.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The static files of one directory.
#[derive(Debug, Clone)]
pub struct Files {
    tree: Tree,
    dir: ServeDir<DefaultServeDirFallback, Tree>,
}

impl Files {
    /// The files below `dir`. A link to the directory itself is resolved once, here; files may
    /// come, change and go later.
    ///
    /// # Errors
    ///
    /// When `dir` does not exist, cannot be reached, or is not a directory.
    pub fn new(dir: &Path) -> io::Result<Self> {
        let tree = Tree::new(dir)?;
        let dir = ServeDir::with_backend(tree.root(), tree.clone())
            .precompressed_br()
            .precompressed_gzip()
            // The whole file is a right answer to several ranges; a multipart one is not needed.
            .ignore_multi_range_requests(true);
        Ok(Self { tree, dir })
    }

    /// Answers a request for a file; `None` when there is none to be seen at its path.
    ///
    /// A path that names a traversal, a dotfile, a link out of the tree, a pipe or a device is
    /// `None` too. For what exists, methods but GET and HEAD are answered with 405, a directory
    /// without its trailing slash is redirected to, and a failing disk is a 500.
    pub async fn serve<B>(&self, request: Request<B>) -> Option<Response<Body>> {
        let (head, _body) = request.into_parts();
        let answer = self.answer(&head).await.unwrap_or_else(|error| {
            if is_absence(&error) {
                return None;
            }
            tracing::warn!(%error, path = head.uri.path(), "a static file could not be read");
            Some(bare(StatusCode::INTERNAL_SERVER_ERROR))
        });
        answer.map(|mut response| {
            response.headers_mut().insert(
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            );
            response
        })
    }

    async fn answer(&self, head: &http::request::Parts) -> io::Result<Option<Response<Body>>> {
        let Some(asked) = Asked::parse(head.uri.path()) else {
            return Ok(None);
        };
        let mut path = self.tree.root().to_path_buf();
        path.extend(&asked.names);
        let is_dir = self.tree.metadata(path.clone()).await?.is_dir();
        if is_dir && !self.tree.metadata(path.join(INDEX)).await?.is_file() {
            return Ok(None);
        }
        if asked.slash && !is_dir {
            return Ok(None);
        }
        if head.method != Method::GET && head.method != Method::HEAD {
            let mut response = bare(StatusCode::METHOD_NOT_ALLOWED);
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Ok(Some(response));
        }
        if is_dir && !asked.slash {
            return Ok(asked.with_slash(head.uri.query()));
        }
        self.send(head).await.map(Some)
    }

    /// The file itself, or what its conditions and ranges make of it.
    async fn send(&self, head: &http::request::Parts) -> io::Result<Response<Body>> {
        let mut headers = head.headers.clone();
        // RFC 9110, 14.2: a range is for GET alone, and an unknown unit counts as no range.
        if head.method == Method::HEAD || !has_byte_range(&headers) {
            headers.remove(header::RANGE);
        }
        let mut response = self.call(&head.uri, headers.clone()).await?;
        if matches!(
            response.status(),
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE
        ) && !if_range_holds(&headers, response.headers())
        {
            // ServeDir leaves If-Range to us: the part the client has is of another version.
            headers.remove(header::RANGE);
            response = self.call(&head.uri, headers).await?;
        }
        if response.status() == StatusCode::NOT_MODIFIED {
            // RFC 9110, 15.4.5: what the full answer would have said to caches.
            response
                .headers_mut()
                .insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        if head.method == Method::HEAD {
            // HEAD goes down as GET, so that both see the same file; its length stays.
            *response.body_mut() = Body::empty();
        }
        Ok(response)
    }

    async fn call(&self, uri: &Uri, headers: HeaderMap) -> io::Result<Response<Body>> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        Ok(self.dir.clone().try_call(request).await?.map(Body::new))
    }
}

/// A path that passed the guard: plain names, decoded once.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    names: Vec<String>,
    /// The path ended with a slash, as the root always does.
    slash: bool,
}

impl Asked {
    /// SECURITY: whatever is not a plain name ends here, before any part of it meets the file
    /// system: empty names (`//evil` would make a redirect leave the site), `.` and `..` in any
    /// spelling, dotfiles, separators that were hidden by encoding, control characters.
    fn parse(path: &str) -> Option<Self> {
        let below = path.strip_prefix('/')?;
        let (below, slash) = match below.strip_suffix('/') {
            Some(below) => (below, true),
            None if below.is_empty() => {
                return Some(Self {
                    names: Vec::new(),
                    slash: true,
                });
            }
            None => (below, false),
        };
        let names = below
            .split('/')
            .enumerate()
            .map(|(depth, name)| {
                let name = percent_decode_str(name).decode_utf8().ok()?.into_owned();
                let is_hidden = name.starts_with('.') && !(depth == 0 && name == WELL_KNOWN);
                let is_plain = !name.is_empty()
                    && !is_hidden
                    && !name.contains(|c: char| matches!(c, '/' | '\\') || c.is_control());
                is_plain.then_some(name)
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self { names, slash })
    }

    /// Sends the client to the same directory with a slash, so that the page's relative links
    /// work. The target is relative and begins with `./`: it cannot name another site or scheme,
    /// and it is right behind a proxy that strips a prefix.
    fn with_slash(&self, query: Option<&str>) -> Option<Response<Body>> {
        let name = utf8_percent_encode(self.names.last()?, RESERVED);
        let target = match query {
            Some(query) => format!("./{name}/?{query}"),
            None => format!("./{name}/"),
        };
        let mut response = bare(StatusCode::TEMPORARY_REDIRECT);
        response
            .headers_mut()
            .insert(header::LOCATION, HeaderValue::try_from(target).ok()?);
        Some(response)
    }
}

fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn has_byte_range(headers: &HeaderMap) -> bool {
    headers
        .get(header::RANGE)
        .and_then(|range| range.as_bytes().split_first_chunk())
        .is_some_and(|(unit, _): (&[u8; 6], _)| unit.eq_ignore_ascii_case(b"bytes="))
}

/// RFC 9110, 13.1.5: the entity tag byte for byte and strong, or the very date we gave.
fn if_range_holds(request: &HeaderMap, response: &HeaderMap) -> bool {
    let Some(condition) = request.get(header::IF_RANGE) else {
        return true;
    };
    let ours = match condition.as_bytes() {
        [b'"', ..] => response.get(header::ETAG),
        _ => response.get(header::LAST_MODIFIED),
    };
    ours == Some(condition)
}

/// Whether the path names nothing, however the system words it: too long, through a file, in a
/// circle, or not ours to read.
fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound, PermissionDenied};
    matches!(
        error.kind(),
        NotFound | PermissionDenied | NotADirectory | InvalidFilename | InvalidInput
    ) || error.raw_os_error() == Some(libc::ELOOP)
}

#[cfg(test)]
mod tests;
