//! What is found again: after a kill, after a stop, after a disk without room, after damage.

mod damage;
mod disk;
mod epoch;
mod faults;
mod functions;
mod golden;
mod keeps;
mod kill;
mod lists;
mod loading;
mod pairs;
mod panic;
mod published;
mod records;
mod restart;
mod rollback;
mod served;
mod swapdb;
mod switch;
mod sync;
mod tools;
mod writer;
