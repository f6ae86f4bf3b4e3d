//! What is sent arrives as it was, however it is cut, and nothing else is believed.

use proptest::prelude::*;

use super::*;

fn text() -> impl Strategy<Value = OsString> {
    proptest::collection::vec(any::<u8>(), 0..40).prop_map(OsString::from_vec)
}

fn maybe() -> impl Strategy<Value = Option<u64>> {
    proptest::option::of(any::<u64>())
}

prop_compose! {
    fn any_cage()(
        uid in proptest::option::of(any::<u32>()),
        groups in proptest::collection::vec(any::<u32>(), 1..4),
        directory in "[a-z/]{0,9}",
        nice in proptest::option::of(-20..20i32),
        limits in (maybe(), maybe(), maybe(), maybe(), maybe()),
        other in any::<bool>(),
        held in any::<bool>(),
    ) -> Cage {
        let identity = Identity { uid, gid: groups[0], groups, held, env: Vec::new() };
        Cage {
            identity: other.then_some(identity),
            directory: Some(directory).filter(|path| !path.is_empty()).map(Into::into),
            nice,
            limits: Limits {
                memory: limits.0,
                cpu_seconds: limits.1,
                files: limits.2,
                processes: limits.3,
            },
            user_processes: limits.4,
        }
    }
}

fn request() -> impl Strategy<Value = Request> {
    let args = proptest::collection::vec(text(), 0..5);
    let env = proptest::collection::vec((text(), text()), 0..5);
    prop_oneof![
        (
            any::<u64>(),
            text(),
            text(),
            args,
            env,
            any_cage(),
            any::<bool>()
        )
            .prop_map(|(id, path, name, args, env, cage, terminal)| {
                Request::Start {
                    id,
                    launch: Box::new(Launch {
                        path,
                        name,
                        args,
                        env,
                        cage,
                        terminal,
                    }),
                }
            }),
        (any::<u64>(), 1..64i32, any::<u32>()).prop_map(|(id, signal, millis)| {
            Request::Stop {
                id,
                signal,
                grace: Duration::from_millis(millis.into()),
            }
        }),
        any::<u64>().prop_map(|id| Request::Kill { id }),
        any::<u64>().prop_map(|at| Request::Until { at }),
    ]
}

proptest! {
    #[test]
    fn requests_arrive_as_they_were_sent_however_they_are_cut(
        sent in proptest::collection::vec(request(), 1..6),
        step in 1..200usize,
    ) {
        let stream: Vec<u8> = sent.iter().flat_map(Request::encode).collect();
        let (mut buf, mut heard) = (BytesMut::new(), Vec::new());
        for piece in stream.chunks(step) {
            buf.extend_from_slice(piece);
            while let Some(request) = Request::take(&mut buf).unwrap() {
                heard.push(request);
            }
        }
        prop_assert_eq!(heard, sent);
        prop_assert!(buf.is_empty());
    }

    #[test]
    fn any_bytes_are_an_answer_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..99)) {
        let mut buf = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = Request::take(&mut buf) {}
        let mut buf = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = Answer::take(&mut buf) {}
    }
}

#[test]
fn answers_arrive_as_they_were_sent() {
    for answer in [
        Answer::Ready,
        Answer::Started { id: 1, pid: 2 },
        Answer::Failed {
            id: u64::MAX,
            errno: libc::ENOENT,
            step: Step::Directory,
        },
        Answer::Exited {
            id: 3,
            exit: Exit::Code(255),
        },
        Answer::Gone {
            id: 4,
            exit: Exit::Signal(9),
        },
        Answer::Gone {
            id: 5,
            exit: Exit::Over(Limit::Memory(u64::MAX - 7)),
        },
        Answer::Exited {
            id: 6,
            exit: Exit::Over(Limit::CpuSeconds(1)),
        },
        Answer::Exited {
            id: 7,
            exit: Exit::Over(Limit::Processes(1 << 33)),
        },
    ] {
        let mut buf = BytesMut::from(&answer.encode()[..]);
        assert_eq!(Answer::take(&mut buf).unwrap(), Some(answer));
        assert_eq!(Answer::take(&mut buf).unwrap(), None);
    }
}
