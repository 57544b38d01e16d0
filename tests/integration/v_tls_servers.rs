//! TLS to servers that are not ours: Python's own, gunicorn, nginx.
//!
//! Not here: what a backend has to prove, and every way to fail (`v_tls_backends`).

use crate::harness::{
    Authority, Issued, Message, Process, Proxy, TIMEOUT, Wire, free_address, needs, python_module,
    ronde_only, scratch_directory, tls, within,
};
use crate::v_tls_backends::by_its_own_transport;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

const MEGABYTES: usize = 4 << 20;

/// Starts a server, and a ronde in front of it that believes it.
fn serve(start: impl Fn(SocketAddr, &Issued, &Path) -> Process) -> (Process, Proxy) {
    let (authority, address, folder) = (Authority::new(), free_address(), scratch_directory());
    let issued = authority.issue(&["127.0.0.1"]);
    std::fs::write(folder.join("small.txt"), "small").expect("a file");
    std::fs::write(folder.join("large.bin"), vec![b'x'; MEGABYTES]).expect("a file");
    let server = start(address, &issued, &folder);
    within(2 * TIMEOUT, "the server listens", || TcpStream::connect(address).is_ok());
    let proxy = Proxy::with(&format!("{} https://{address}", authority.flag()), &[]);
    (server, proxy)
}

fn get_files(proxy: &Proxy) {
    let mut client = proxy.connect();
    for _ in 0..3 {
        assert_eq!(client.get("/small.txt").text(), "small");
        let large = client.get("/large.bin");
        assert_eq!((large.status(), large.body.len()), (200, MEGABYTES));
        assert_eq!(client.get("/none").status(), 404);
    }
    assert!(!proxy.process.stdout.text().contains("cause="), "{}", proxy.process.stdout.text());
}

#[test]
fn pythons_own_server_is_a_backend_with_tls() {
    by_its_own_transport!();
    needs!(Python);
    let (_server, proxy) = serve(|address, issued, folder| {
        let script = folder.join("server.py");
        let text = format!(
            "import http.server, os, ssl\n\
             os.chdir({folder:?})\n\
             class Handler(http.server.SimpleHTTPRequestHandler): protocol_version = 'HTTP/1.1'\n\
             server = http.server.ThreadingHTTPServer(('127.0.0.1', {}), Handler)\n\
             context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
             context.load_cert_chain({:?}, {:?})\n\
             server.socket = context.wrap_socket(server.socket, server_side=True)\n\
             server.serve_forever()\n",
            address.port(),
            issued.certificate,
            issued.key,
        );
        std::fs::write(&script, text).expect("the script");
        Process::spawn(Command::new("python3").arg(script).env("PYTHONUNBUFFERED", "1"))
    });
    get_files(&proxy);
}

#[test]
fn gunicorn_is_a_backend_with_tls() {
    by_its_own_transport!();
    needs!(Gunicorn);
    let (_server, proxy) = serve(|address, issued, folder| {
        let application = "def app(environ, start):\n    \
             body = environ['wsgi.input'].read()\n    \
             start('200 OK', [('Content-Length', str(len(body))), ('X-Scheme', environ['wsgi.url_scheme'])])\n    \
             return [body]\n";
        std::fs::write(folder.join("echo.py"), application).expect("the application");
        python_module(&[
            "gunicorn",
            "--bind",
            &address.to_string(),
            "--chdir",
            &folder.display().to_string(),
            "--threads",
            "4",
            "--certfile",
            &issued.certificate.display().to_string(),
            "--keyfile",
            &issued.key.display().to_string(),
            "echo:app",
        ])
    });
    let mut client = proxy.connect();
    for length in [2, MEGABYTES] {
        let body = "x".repeat(length);
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}");
        let mut sender: Wire = client.twin();
        let sending = std::thread::spawn(move || sender.send(request));
        let response: Message = client.response();
        sending.join().expect("the client");
        assert!(response.text() == body, "{}", response.status());
    }
}

#[test]
fn nginx_is_a_backend_with_tls() {
    by_its_own_transport!();
    needs!(Nginx);
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let (_server, proxy) = serve(|address, issued, folder| {
            let config = format!(
                "daemon off; master_process off; pid {folder}/pid; error_log stderr;\n\
                 events {{ }}\n\
                 http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n\
                 fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n\
                 server {{ listen {address} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};\n\
                 ssl_protocols {protocol}; root {folder}; }} }}\n",
                folder = folder.display(),
                certificate = issued.certificate.display(),
                key = issued.key.display(),
            );
            let file = folder.join("nginx.conf");
            std::fs::write(&file, config).expect("its configuration");
            let mut command = Command::new("/usr/sbin/nginx");
            Process::spawn(command.arg("-e").arg("stderr").arg("-p").arg(folder).arg("-c").arg(&file))
        });
        get_files(&proxy);
    }
}
