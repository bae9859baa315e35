//! Bytes in place of `store.json`, `cohort.json` and `control`; and as settings.
//!
//! The first byte of an input says in place of what.

use tallyfold::{Error, Settings, Store};

use super::bytes::{self, Link};
use super::scene::{self, Scene, go_on, must_be_placed};

pub fn run(input: &[u8]) {
    let Some((&flags, bytes)) = input.split_first() else { return };
    let scene = Scene::new(&scene::settings("latest", "file"));
    let link = Link { epoch: 1, first_seq: 1, ..Link::default() };
    let mut segment = bytes::segment(1, 7, link);
    bytes::push_frame(&mut segment, 1, 0, &[bytes::record(1, "k", b"1")]);
    scene.put_segment(1, &segment);
    match flags % 4 {
        0 => scene.put("../store.json", bytes),
        1 => {
            // A limit that asks for an allocation is no damage, and would be granted.
            let Ok(text) = std::str::from_utf8(bytes) else { return refused(&scene, bytes) };
            if let Err(e) = Settings::from_json(text) {
                assert!(e.is_invalid() || e.is_unsupported(), "{e:?}");
            }
            return refused(&scene, bytes);
        }
        _ => {
            if !scene::shares_memory() {
                return;
            }
            scene.put("cohort.json", scene::settings("latest", "memory").as_bytes());
            scene.put("control", bytes);
        }
    }
    match go_on(&scene, true) {
        Ok(()) => {}
        Err(e) => must_name_the_document(&e),
    }
}

/// The cohort's document: what can be read of it is used, but for what makes operations wait or allocate on purpose.
fn refused(scene: &Scene, bytes: &[u8]) {
    scene.put("cohort.json", bytes);
    let opened = Store::open_existing(scene.path()).and_then(|store| store.cohort(bytes::COHORT));
    match opened {
        Err(e) => must_name_the_document(&e),
        Ok(cohort) => {
            let (records, error) = scene::records(&cohort, 1);
            assert!(error.is_none() && records.len() == 1, "{error:?}");
            let appended = cohort.append("k", &2);
            assert!(matches!(&appended, Ok(2) | Err(_)), "{appended:?}");
            let _ = (cohort.view(), cohort.verify(), cohort.compact());
        }
    }
}

fn must_name_the_document(e: &Error) {
    must_be_placed(e);
    assert!(e.path().is_some() || !e.is_corruption(), "which document? {e:?}");
}
