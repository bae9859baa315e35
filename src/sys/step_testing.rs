//! Places where a test lets a process die, or does something else in the middle of what it tests.

use std::cell::RefCell;

type Act = Box<dyn FnOnce()>;

thread_local! {
    static WAITING: RefCell<Vec<(&'static str, usize, Act)>> = const { RefCell::new(Vec::new()) };
}

/// When this thread comes to a step for the time after the next `before`, it does `act` there, once.
#[cfg_attr(not(unix), allow(dead_code, reason = "those who use it fork"))]
pub(crate) fn at_step(step: &'static str, before: usize, act: impl FnOnce() + 'static) {
    WAITING.with_borrow_mut(|waiting| waiting.push((step, before, Box::new(act))));
}

pub(crate) fn reached(step: &'static str) {
    let act = WAITING.with_borrow_mut(|waiting| {
        let i = waiting.iter().position(|(at, ..)| *at == step)?;
        if waiting[i].1 > 0 {
            waiting[i].1 -= 1;
            return None;
        }
        Some(waiting.remove(i).2)
    });
    if let Some(act) = act {
        act();
    }
}
