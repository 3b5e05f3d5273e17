//! What is found again: after a kill, after a stop, after a disk without room, after damage.

mod damage;
mod disk;
mod faults;
mod kill;
mod restart;
mod tools;
mod writer;
