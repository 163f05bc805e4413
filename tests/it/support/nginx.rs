//! nginx as an upstream: one port of plain HTTP/1.1, one of TLS with HTTP/1.1 and HTTP/2, the same pages on both, all
//! below `/prod`. After a few requests it gives up a connection, in each version of HTTP in that version's way.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{
    clients::{Client, Running},
    relay::authority,
    wait,
};

/// How often it is started again when another process took its port first.
const ATTEMPTS: usize = 5;

/// A running nginx.
pub(crate) struct Nginx {
    plain: SocketAddr,
    tls: SocketAddr,
    /// The certificate of the authority that issued its own.
    pub(crate) authority: PathBuf,
    // In this order: the process ends before the directory goes that it writes to.
    _running: Running,
    directory: TempDir,
}

impl Nginx {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let home = directory.path().to_str().expect("a path in UTF-8");
        let authority = issue(directory.path());
        for _ in 0..ATTEMPTS {
            let [plain, tls] = [free(), free()];
            fs::write(directory.path().join("nginx.conf"), configuration(plain, tls)).expect("room for a file");
            let mut running = Client::new("nginx", &["-p", home, "-e", "stderr", "-c", "nginx.conf"]).start();
            let serves = wait::until("nginx to listen", async || {
                if running.has_ended() {
                    return Some(false);
                }
                TcpStream::connect(tls).await.ok().map(|_| true)
            })
            .await;
            if serves {
                return Self { plain, tls, authority, _running: running, directory };
            }
            assert!(running.printed().contains("in use"), "nginx ended at once\n{}", running.printed());
        }
        panic!("nginx found no ports in {ATTEMPTS} attempts");
    }

    /// The base of its pages, over plain HTTP.
    pub(crate) fn http(&self) -> String {
        format!("http://{}/prod", self.plain)
    }

    /// A file that it serves or was given.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The base of its pages, over TLS.
    pub(crate) fn https(&self) -> String {
        format!("https://localhost:{}/prod", self.tls.port())
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// Writes a certificate for `localhost` and its key; returns the file of the authority's certificate.
fn issue(directory: &Path) -> PathBuf {
    let (authority, issuer) = authority();
    let key = KeyPair::generate().expect("a key");
    let names = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = names.signed_by(&key, &issuer).expect("a certificate");
    let write = |name: &str, content: String| {
        let path = directory.join(name);
        fs::write(&path, content).expect("room for a file");
        path
    };
    write("certificate.pem", certificate.pem());
    write("key.pem", key.serialize_pem());
    write("authority.pem", authority)
}

/// One process, which ends with the test; everything that it writes lies in its directory.
fn configuration(plain: SocketAddr, tls: SocketAddr) -> String {
    format!(
        r#"daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    client_max_body_size 64m;
    keepalive_requests 50;
    server {{
        listen {plain};
        listen {tls} ssl http2;
        server_name localhost;
        ssl_certificate certificate.pem;
        ssl_certificate_key key.pem;
        location /prod/seen {{
            default_type text/plain;
            return 200 "$server_protocol\n$scheme\n$request_uri\n$http_authorization\n";
        }}
        location /prod/moved {{ return 302 /prod/seen?moved=1; }}
        location /prod/login {{
            add_header Set-Cookie "sid=7; Domain=example.com; Path=/prod/seen; Secure; HttpOnly; SameSite=None";
            return 204;
        }}
        location /prod/files/ {{
            root .;
            dav_methods PUT;
            create_full_put_path on;
        }}
        location /prod/small/ {{
            client_max_body_size 1k;
            root .;
            dav_methods PUT;
        }}
    }}
}}
"#
    )
}
