use super::*;
use std::net::TcpListener;
use std::thread::JoinHandle;

const NAME: &str = "_http._tcp.web.internal";
/// Never over where an answer comes.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

fn local() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

/// An answer to that question, with one target at that port.
fn answer(question: &[u8], port: u16) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[2..4].copy_from_slice(&[0x81, 0x80]);
    bytes[7] = 1;
    bytes.extend([0xC0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 9, 0, 0, 0, 1]);
    bytes.extend(port.to_be_bytes());
    bytes.extend(*b"\x01a\x00");
    bytes
}

/// Takes one question, and answers with these messages, from the server's own socket or another.
fn serve(socket: UdpSocket, replies: impl FnOnce(&[u8]) -> Vec<(bool, Vec<u8>)> + Send + 'static) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        let (n, from) = socket.recv_from(&mut buffer).unwrap();
        for (is_own, reply) in replies(&buffer[..n]) {
            let other = local();
            let sender = if is_own { &socket } else { &other };
            sender.send_to(&reply, from).unwrap();
        }
    })
}

fn port_of(answer: io::Result<SrvAnswer>) -> u16 {
    answer.unwrap().records[0].port
}

#[test]
fn forged_answers_are_ignored() {
    let socket = local();
    let addr = socket.local_addr().unwrap();
    let server = serve(socket, |question| {
        let mut other_id = answer(question, 1);
        other_id[0] ^= 1;
        let mut other_name = answer(question, 2);
        other_name[14] = b'x';
        let from_elsewhere = (false, answer(question, 3));
        vec![(true, other_id), (true, other_name), from_elsewhere, (true, b"junk".to_vec()), (true, answer(question, 80))]
    });
    assert_eq!(port_of(ask(&[addr], NAME, LONG)), 80);
    server.join().unwrap();
}

#[test]
fn a_server_that_is_silent_gone_or_of_no_help_is_passed_over() {
    let (silent, useless, good) = (local(), local(), local());
    let gone = local().local_addr().unwrap();
    let servers = [silent.local_addr().unwrap(), gone, useless.local_addr().unwrap(), good.local_addr().unwrap()];
    let threads = [
        serve(useless, |question| {
            let mut failure = question.to_vec();
            failure[2..4].copy_from_slice(&[0x81, 0x82]);
            vec![(true, failure)]
        }),
        serve(good, |question| vec![(true, answer(question, 80))]),
    ];
    // Short for the silent one; the others' answers may take longer on a busy machine, and then each is asked again.
    assert_eq!(port_of(ask(&servers, NAME, Duration::from_secs(1))), 80);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let failure = ask(&servers[..1], NAME, SHORT).unwrap_err().to_string();
    assert_eq!(failure, format!("name server {}: it does not answer", servers[0]));
    assert_eq!(ask(&[], NAME, SHORT).unwrap_err().to_string(), "there is no name server to ask");
}

#[test]
fn that_a_name_does_not_exist_is_an_answer() {
    let (socket, second) = (local(), local());
    let servers = [socket.local_addr().unwrap(), second.local_addr().unwrap()];
    let server = serve(socket, |question| {
        let mut absent = question.to_vec();
        absent[2..4].copy_from_slice(&[0x81, 0x83]);
        vec![(true, absent)]
    });
    assert_eq!(ask(&servers, NAME, LONG).unwrap_err().to_string(), "there is no such name");
    server.join().unwrap();
}

/// A server that cuts answers off, and what it does with a connection.
fn cut_off(serve_tcp: impl FnOnce(TcpStream) + Send + 'static) -> (SocketAddr, [JoinHandle<()>; 2]) {
    let (socket, listener) = loop {
        let socket = local();
        if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()) {
            break (socket, listener);
        }
    };
    let addr = socket.local_addr().unwrap();
    let udp = serve(socket, |question| {
        let mut cut = question.to_vec();
        cut[2..4].copy_from_slice(&[0x83, 0x80]);
        vec![(true, cut)]
    });
    (addr, [udp, std::thread::spawn(move || serve_tcp(listener.accept().unwrap().0))])
}

fn question_of(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut question = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut question).unwrap();
    question
}

#[test]
fn what_is_cut_off_is_asked_for_by_tcp() {
    let (addr, threads) = cut_off(|mut stream| {
        let reply = answer(&question_of(&mut stream), 81);
        let bytes = [&(reply.len() as u16).to_be_bytes()[..], &reply].concat();
        bytes.iter().for_each(|byte| stream.write_all(&[*byte]).unwrap());
    });
    assert_eq!(port_of(ask(&[addr], NAME, LONG)), 81);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_connection_that_ends_early_is_a_failure() {
    let (addr, threads) = cut_off(|mut stream| {
        question_of(&mut stream);
        stream.write_all(&[1, 0, 7]).unwrap();
    });
    let question = question(1, NAME).unwrap();
    assert_eq!(by_udp(addr, &question, Deadline::after(LONG)).unwrap(), SrvReply::Truncated);
    assert_eq!(by_tcp(addr, &question, Deadline::after(LONG)).unwrap_err().to_string(), "its answer by TCP ends early");
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
