//! WebSockets through tunnels, with an independent library on both ends.

use crate::support::*;
use serde_json::json;
use std::net::{TcpListener, TcpStream};
use std::thread;
use tungstenite::client::client_with_config;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, WebSocket, accept_with_config};

/// A message of this size goes both ways.
const LARGE: usize = 16 << 20;
/// Tunnels open at once.
const MANY: usize = 500;

fn limits() -> Option<WebSocketConfig> {
    Some(WebSocketConfig::default().max_message_size(Some(2 * LARGE)).max_frame_size(Some(2 * LARGE)))
}

/// Sends every message back. Returns where it listens.
fn echo_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = |stream: TcpStream| {
        let Ok(mut socket) = accept_with_config(stream, limits()) else { return };
        while let Ok(message) = socket.read() {
            if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
                break;
            }
        }
    };
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(thread::spawn(move || serve(stream)))));
    port
}

fn to(port: u16) -> Config {
    Config::to_all([([127, 0, 0, 1], port).into()])
        .set("limits", json!({"max_client_conns": 2 * MANY, "max_conns_per_upstream": 2 * MANY}))
        .set("workers", 2)
}

fn connect(proxy: &Proxy) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(proxy.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (socket, answer) = client_with_config(format!("ws://{}/ws", proxy.addr()), stream, limits()).unwrap();
    assert_eq!(answer.status(), 101);
    socket
}

fn ask(socket: &mut WebSocket<TcpStream>, text: &str) {
    socket.send(Message::text(text)).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text(text));
}

#[test]
fn messages_small_fragmented_and_large_come_back() {
    let proxy = to(echo_server()).start();
    let mut socket = connect(&proxy);
    ask(&mut socket, "hello");
    let large: Vec<u8> = (0..LARGE).map(|i| (i * 31 % 251) as u8).collect();
    let mut reader = socket
        .get_ref()
        .try_clone()
        .map(|stream| WebSocket::from_raw_socket(stream, tungstenite::protocol::Role::Client, limits()))
        .unwrap();
    let sent = Message::binary(large.clone());
    // No buffer holds all of it, so it is read while it is sent.
    let writing = thread::spawn(move || {
        socket.send(sent).unwrap();
        socket
    });
    assert_eq!(reader.read().unwrap(), Message::binary(large));
    let mut socket = writing.join().unwrap();
    socket.close(None).unwrap();
    drop((socket, reader));
    wait_until("the tunnel is gone", || proxy.metric("proxy_client_connections", &[]) == 0.0);
    assert!(proxy.log_with("/ws").contains("\" 101 "));
}

#[test]
fn hundreds_of_tunnels_live_through_a_hundred_reloads() {
    let port = echo_server();
    let configs = [15_000, 14_000].map(|read_ms| to(port).set("timeouts.read_ms", read_ms));
    let proxy = configs[0].clone().start();
    let mut sockets: Vec<_> = (0..MANY).map(|_| connect(&proxy)).collect();
    assert_eq!(proxy.metric("proxy_client_connections", &[]), MANY as f64);
    for turn in 0..100 {
        proxy.reload(&configs[(turn + 1) % 2]);
        for (i, socket) in sockets.iter_mut().enumerate().skip(turn % 10).step_by(10) {
            ask(socket, &format!("{turn} {i}"));
        }
    }
    for (i, socket) in sockets.iter_mut().enumerate() {
        ask(socket, &i.to_string());
    }
    drop(sockets);
    wait_until("the tunnels are gone", || proxy.metric("proxy_client_connections", &[]) == 0.0);
}

#[test]
fn a_tunnel_is_cut_when_the_time_to_end_is_over() {
    let proxy = to(echo_server()).set("shutdown.grace_ms", 300).start();
    let mut socket = connect(&proxy);
    ask(&mut socket, "before");
    proxy.signal("TERM");
    ask(&mut socket, "meanwhile");
    assert!(socket.read().is_err());
    assert!(proxy.log_with("/ws").contains("error=draining"));
}
