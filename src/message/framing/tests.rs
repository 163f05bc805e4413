use proptest::{
    collection::vec as several,
    prelude::*,
    sample::{Index, select},
};

use super::*;

/// What came out of a body: its data, its trailers, what was left behind it, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    rest: Vec<u8>,
    end: Result<bool, Malformed>,
}

/// Feeds `pieces` to a decoder, one after the other, and takes all that it gives after each.
fn take_all(body: Body, pieces: &[&[u8]]) -> Taken {
    let mut decoder = Decoder::new(body);
    let (mut data, mut trailers, mut bytes) = (Vec::new(), None, BytesMut::new());
    let mut end = Ok(false);
    for piece in pieces {
        bytes.extend_from_slice(piece);
        end = loop {
            match decoder.next(&mut bytes) {
                Ok(Next::Data(more)) => {
                    assert!(!more.is_empty(), "an empty piece says nothing");
                    data.extend_from_slice(&more);
                }
                Ok(Next::Trailers(found)) => trailers = Some(found),
                Ok(Next::More) => break Ok(false),
                Ok(Next::End) => break Ok(true),
                Err(why) => break Err(why),
            }
        };
    }
    Taken { data, trailers, rest: bytes.to_vec(), end }
}

fn taken(body: Body, bytes: &[u8]) -> (String, Result<bool, Malformed>, String) {
    let Taken { data, rest, end, .. } = take_all(body, &[bytes]);
    (String::from_utf8_lossy(&data).into_owned(), end, String::from_utf8_lossy(&rest).into_owned())
}

#[test]
fn bodies_and_what_is_left_behind_them() {
    for (body, bytes, data, end, rest) in [
        (Body::Nothing, "x", "", Ok(true), "x"),
        (Body::Length(3), "abcdef", "abc", Ok(true), "def"),
        (Body::Length(3), "ab", "ab", Ok(false), ""),
        (Body::ToEnd, "abc", "abc", Ok(false), ""),
        (Body::Chunked, "3\r\nabc\r\n0\r\n\r\nHTTP", "abc", Ok(true), "HTTP"),
        (Body::Chunked, "3;a=\"b\"\r\nabc\r\n00\r\n\r\n", "abc", Ok(true), ""),
        (Body::Chunked, "3 \t;a\r\nabc\r\n0 \r\n\r\n", "abc", Ok(true), ""),
        (Body::Chunked, "A\r\n0123456789\r\n0\r\n\r\n", "0123456789", Ok(true), ""),
        (Body::Chunked, "0\r\nA: b\r\n\r\nx", "", Ok(true), "x"),
        (Body::Chunked, "3\r\nabc\r\n", "abc", Ok(false), ""),
        (Body::Chunked, "3\r\nab", "ab", Ok(false), ""),
        (Body::Chunked, "ffffffffffffffff\r\na", "a", Ok(false), ""),
    ] {
        assert_eq!(taken(body, bytes.as_bytes()), (data.to_owned(), end, rest.to_owned()), "{body:?} {bytes:?}");
    }
}

#[test]
fn what_is_no_chunk_fails_and_goes_on_failing() {
    for bytes in [
        "\r\nabc\r\n",
        "x\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x1\r\n",
        " 1\r\na\r\n",
        "1 1\r\na\r\n",
        "1\na\n",
        "1\r\r\na\r\n",
        "1;a\rb\r\na\r\n",
        "1;a\nb\r\na\r\n",
        "1\r\naa\r\n",
        "1\r\na\n",
        "1\r\na\rx",
        "10000000000000000\r\n",
        "00000000000000001\r\n",
        "1,\r\na\r\n",
    ] {
        let (_, end, _) = taken(Body::Chunked, bytes.as_bytes());
        assert_eq!(end, Err(Malformed::Chunk), "{bytes:?}");
    }
    for bytes in [
        "0\r\nA b\r\n\r\n",
        "0\r\nA : b\r\n\r\n",
        "0\r\n A: b\r\n\r\n",
        "0\r\nA: b\rc\r\n\r\n",
        "0\r\nA: b\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "0\r\n\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        let (_, end, _) = taken(Body::Chunked, bytes.as_bytes());
        assert_eq!(end, Err(Malformed::Trailers), "{bytes:?}");
    }
    let mut decoder = Decoder::new(Body::Chunked);
    let mut bytes = BytesMut::from("x\r\n");
    assert_eq!(decoder.next(&mut bytes), Err(Malformed::Chunk));
    bytes.extend_from_slice(b"1\r\na\r\n0\r\n\r\n");
    assert_eq!(decoder.next(&mut bytes), Err(Malformed::Chunk));
    assert!(!decoder.is_at_end() && !decoder.ended());
}

#[test]
fn lines_without_an_end_are_not_waited_for() {
    let long = "1".repeat(LONGEST_LINE);
    assert_eq!(taken(Body::Chunked, long.as_bytes()).1, Err(Malformed::Chunk));
    let extended = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(MOST_EXTENSIONS / 1000 + 1);
    assert_eq!(taken(Body::Chunked, extended.as_bytes()).1, Err(Malformed::Chunk));
    let trailing = format!("0\r\n{}", "a: b\r\n".repeat(MOST_TRAILERS));
    assert_eq!(taken(Body::Chunked, trailing.as_bytes()).1, Err(Malformed::Trailers));
    let many = format!("0\r\n{}\r\n", "a: b\r\n".repeat(MOST_FIELDS + 1));
    assert_eq!(taken(Body::Chunked, many.as_bytes()).1, Err(Malformed::Trailers));
}

#[test]
fn a_body_is_whole_at_the_end_of_its_connection_only_where_nothing_says_how_long_it_is() {
    for (body, whole) in [(Body::ToEnd, true), (Body::Length(3), false), (Body::Chunked, false), (Body::Nothing, true)]
    {
        assert_eq!(Decoder::new(body).ended(), whole, "{body:?}");
    }
}

#[test]
fn the_last_piece_is_known_to_be_the_last() {
    for (body, bytes) in [(Body::Length(3), "abc"), (Body::Chunked, "3\r\nabc\r\n0\r\n\r\n")] {
        let mut decoder = Decoder::new(body);
        let mut bytes = BytesMut::from(bytes);
        assert_eq!(decoder.next(&mut bytes), Ok(Next::Data(Bytes::from_static(b"abc"))));
        assert!(decoder.is_at_end(), "{body:?}");
        assert_eq!(decoder.remaining(), Some(0));
    }
}

#[test]
fn trailers_are_read_and_written_where_they_were_announced() {
    let Taken { trailers, .. } = take_all(Body::Chunked, &[b"0\r\nX-A: 1\r\nx-a: 2\r\nHost: evil\r\n\r\n"]);
    let trailers = trailers.expect("trailers");
    assert_eq!(trailers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    let mut announcing = Fields::new();
    for names in ["X-A, Host", "authorization"] {
        announcing.append(TRAILER, HeaderValue::from_static(names));
    }
    let mut written = Vec::new();
    assert_eq!(Outgoing::chunked(&announcing).end(Some(&trailers), &mut written), Some(()));
    assert_eq!(String::from_utf8_lossy(&written), "0\r\nx-a: 1\r\nx-a: 2\r\n\r\n");
    written.clear();
    assert_eq!(Outgoing::chunked(&Fields::new()).end(Some(&trailers), &mut written), Some(()));
    assert_eq!(written, b"0\r\n\r\n");
}

#[test]
fn a_request_is_never_longer_or_shorter_than_it_says() {
    let mut before = Vec::new();
    let mut framing = Outgoing::Length(5);
    assert_eq!(framing.around(3, &mut before), Some(&b""[..]));
    assert_eq!((framing.end(None, &mut before), framing.last(b"")), (None, None));
    assert_eq!(framing.around(3, &mut before), None);
    assert_eq!(framing.around(2, &mut before), Some(&b""[..]));
    assert_eq!((framing.end(None, &mut before), framing.last(b"")), (Some(()), Some(&b""[..])));
    assert!(before.is_empty());
    assert_eq!(Outgoing::Nothing.around(1, &mut before), None);
}

/// Cuts `bytes` at `cuts`.
fn cut<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(&ends).map(|(start, end)| &bytes[start..*end]).collect()
}

/// Bytes that are nearly chunks.
fn chunkish() -> impl Strategy<Value = Vec<u8>> {
    let token = select(vec![
        "\r\n",
        "\n",
        "0",
        "1",
        "3",
        "a",
        ";x=y",
        " ",
        "abc",
        "1\r\nx\r\n",
        "3\r\nabc\r\n",
        "0\r\n\r\n",
        "A: b\r\n",
    ]);
    several(token, 0..12).prop_map(|tokens| tokens.concat().into_bytes())
}

proptest! {
    #[test]
    fn cutting_changes_nothing(
        bytes in chunkish(),
        cuts in several(any::<Index>(), 0..6),
        body in prop_oneof![Just(Body::Chunked), Just(Body::ToEnd), (0u64..20).prop_map(Body::Length)],
    ) {
        prop_assert_eq!(take_all(body, &cut(&bytes, &cuts)), take_all(body, &[&bytes]));
    }

    #[test]
    fn what_is_sent_in_chunks_is_read_as_it_was(
        pieces in several(several(any::<u8>(), 1..300), 0..5),
        cuts in several(any::<Index>(), 0..6),
        rest in "[A-Z]{0,5}",
    ) {
        let mut framing = Outgoing::chunked(&Fields::new());
        let mut sent = Vec::new();
        for piece in &pieces {
            let tail = framing.around(piece.len(), &mut sent).expect("chunks have no bound");
            sent.extend_from_slice(piece);
            sent.extend_from_slice(tail);
        }
        framing.end(None, &mut sent).expect("nor a length to fall short of");
        sent.extend_from_slice(rest.as_bytes());
        let taken = take_all(Body::Chunked, &cut(&sent, &cuts));
        prop_assert_eq!(taken, Taken { data: pieces.concat(), trailers: None, rest: rest.into_bytes(), end: Ok(true) });
    }
}
