/*
 * The relay protocol (docs: the relay specification; src/db: the code) as a model for Spin.
 *
 * What happens, when all goes well.  Our process sits on a read slot with one of two connections, the *holder*.
 * On slot k the WAL cannot be restarted; with an ordinary mark nothing is copied past it, without one
 * everything may be.  A *round* lets the WAL go a little further: the other connection begins; everything up to the
 * index is captured while the holder still holds; the guard is passed where slot 0 is let go for a slot k; the
 * holder ends; the idle connection runs a PASSIVE checkpoint, and begins again.  On slot 0 it knows that all is
 * copied; so all is captured, and made durable, and then the other ends: we are *parked*, and a writer may restart the
 * WAL.  Otherwise the idle one ends again and the other is the holder from now on.  The connections have no fixed
 * roles.  Where a checkpoint of the application copies, we *meet* its end on slot 0.
 *
 * What can go wrong, and is in here: writers that die between the commit frame and its publication, or in
 * the middle of publishing, so that the index is recovered while we hold; checkpoints of the application
 * in all modes, also on an empty WAL, that stall anywhere, die anywhere, or go on with a header they read
 * before a restart (SQLite's WAL-reset bug); readers of the application that stay as long as they like on
 * any slot; a stop or kill of our process at any step; a power loss.
 *
 * INVARIANTS, each an assertion at the steps that could break it
 *
 *   RESTART_WAS_CAPTURED    every restarted WAL was fully captured (at the restart, while we are trusted)
 *   CHAIN_FOLLOWS           the same, seen when capture goes over to a new chain: no frame lies between
 *   NOTHING_UNCOMMITTED     nothing uncommitted was captured
 *   NOTHING_HIDDEN          no checkpoint hides a frame: what the index calls copied is in the database
 *                           file, so a reader that begins now sees every commit
 *   READER_IS_WHOLE         nothing is copied that a reader of the application must not see yet
 *   HISTORY_IS_OURS         a generation goes on only if what it captured is a prefix of what happened
 *   SNAPSHOT_IS_EXACT       the database file is one committed state from begin to end of the copying
 *   SNAPSHOT_REPLAYS        snapshot + replay of the captured frames from its name on = committed state
 *   RESTART_WAS_DURABLE     every restarted WAL was captured durably (WITH_SYNC: captures are not, until a sync)
 *
 * There must also be no deadlock: Spin's check of end states is on, and the relay has none.
 *
 * ABSTRACTIONS, and why they lose nothing
 *
 * - A transaction is one frame and writes a page of its own.  Marks, headers and captures only ever end
 *   at commits, so nothing could fall between.  Commit n is the n-th of history; frame f of the chain in
 *   the WAL is commit base + f.  The database file holds commits 1 .. in_file: copies go in order, and the
 *   first hole is a violation of NOTHING_HIDDEN already.
 * - Slots 0, 1 and 2 instead of 0 to 4: enough to have all k slots busy, and so a mark below the snapshot.
 *   The mark of a slot that nobody holds means nothing (the next one to take it sets it), so it is FREE.
 * - Beginning a read of SQLite is one step, since walTryBeginRead looks at the header again once it has the lock.
 *   But it may end on a slot k although all is copied (a copy that ended just after it looked, or one that
 *   has slot 0 locked), so that choice is always open.  WITH_TRY takes the begin of the application's reader apart, with
 *   a mark that is written before its slot is locked; it shows that this loses nothing for slots that we take.
 * - A checkpoint is taken apart where another process can come between: lock, header, each slot of the
 *   loop over the marks, copying, publication of nBackfill.  It may give up, or die, at each of these.  To
 *   wait for a lock is to stay in a step.  There is one checkpointer, for they exclude each other.
 * - The restart of the WAL, and the begin of a writer up to its frame, are one step: a writer on slot 0
 *   that waits there changes nothing for others that they could not have done before it.
 * - A slot that we take by its lock alone is taken in one step, lock and mark, but for WITH_TRY: nobody else can lock it
 *   in between, and an old mark only limits more.  The code takes none of slot 1; here any.
 * - The write lock under which the code meets a checkpoint is left out: it only forbids more.
 * - The read slots of writers, and of our connection W, are left out: they only forbid more.
 * - salts are a number that is never used again for another chain; capture and proofs use it for identity
 *   only.  The relay's files are two numbers: which chain, how many of its frames.  They survive a stop
 *   exactly; that spool and position file agree after a crash is for the torture test.
 * - A proof is that the checkpoint lock was seen free; with WITH_PROOFS also the other two that the code takes for one.
 *   For a process of several threads it goes by likelihood (see docs): that is no proof, and not in here.
 * - The write lock of the forced hold is the lock byte alone, as in the code: nothing of SQLite comes with it.
 *   With WITH_TORN a writer that dies while it publishes leaves an index that somebody has to recover, for which
 *   that very lock is needed.
 * - A checkpoint that is stale while we do not hold, or before our first guard, is SQLite's own bug and
 *   none of ours: where it would do harm it ends without publishing.
 *
 * BOUNDS: COMMITS commits in all and CHAINS chains (first one and restarts).  Everything else (rounds,
 * checkpoints, readers, writers that die, stops) is without a bound, since it returns to the same states;
 * of power losses there is one.  To lose a frame needs one chain that is copied, its restart and one frame
 * more: two commits, two chains.  To hide one needs a header of the first chain, a shorter second chain
 * and one commit more: four commits (two where the mark is 0, in the narrow window of an empty chain).  A
 * proof or a name for the wrong chain needs one restart more: three chains.  So 4 and 3 hold every pattern,
 * and every mutant is found with 3 and 3.  Two commits are left where a stop and an old chain that comes
 * back are combined: one for the old chain, one for what follows it.
 *
 * CONFIGURATIONS are sets of WITH_ symbols, MUTANTS are M_ symbols; check.sh has the list.  Each mutant is
 * explained where it changes the model.
 */

#ifndef COMMITS
#define COMMITS 3
#endif
#ifndef CHAINS
#define CHAINS 3
#endif

#define NONE 3		/* no read slot */
#define FREE 15		/* mark of a slot that nobody holds */
#define UNUSED 14	/* mark of a slot that we hold and that limits nobody */

/* What all processes share: locks, index header, checkpoint info, marks. */
bit write_lock, ckpt_lock;
bit copying;				/* slot 0 is locked exclusively */
byte salts = 1, last_salts = 1, mx, backfill;
byte mark1 = FREE, mark2 = FREE;
byte holder = NONE, other = NONE;	/* our read transactions: slot 0, 1, 2 or NONE */
byte foreign = NONE;			/* one of the application's */
#ifdef WITH_TRY
#define WITH_READER
#endif
#ifdef WITH_READER
byte sees;				/* it must see commits 1 .. sees, and nothing of later ones */
#endif
#ifdef WITH_TRY
byte tries;				/* 1 or 2: it has set the mark of this slot, and not locked it yet */
#endif
#ifdef WITH_BARE
byte taken;				/* 1 or 2: this slot is ours, exclusively, and still has an old mark */
#endif

/* The files, and history. */
bit tail;				/* behind frame mx stands a perfect commit frame, not published */
byte base;				/* commits before this chain */
byte in_file;				/* the database file holds commits 1 .. in_file */
byte committed;
#ifdef WITH_SYNC
byte durable;				/* of these, no loss of power takes commits 1 .. durable */
#endif
#ifdef WITH_TORN
bit torn;				/* the copies of the index differ: a writer died */
#endif
#ifdef WITH_PROOFS
bit insists;				/* a FULL, RESTART or TRUNCATE has the checkpoint lock and the write lock */
#endif
#ifdef WITH_OLD_CHAIN
byte old_salts, old_mx;			/* restarted in the index, but still what the WAL file holds */
#endif

/* What our process has brought home: the position file. */
byte captured;				/* commits 1 .. captured, of which earlier chains are complete */
byte chain_salts, chain_captured;	/* so many frames of this chain */
byte trust;				/* 0 not holding, 1 holding and captured, 2 guarded as well */
#ifdef WITH_SNAPSHOT
bit reading;
#endif
#ifdef WITH_STOP
bit stop, down, power_lost;
bit rewritten;				/* some of what we captured never was, after a power loss */
bit left_over;				/* yet our last frame still stands in the file */
#endif

#define HELD(i) (holder == i || other == i || foreign == i)
#ifdef WITH_TRY
#define USED(i) (HELD(i) || tries == i)
#else
#define USED(i) HELD(i)
#endif

/* Never set: the name of the invariant in the message of its assertion. */
byte RESTART_WAS_DURABLE;

#define RESTART_WAS_CAPTURED (!trust || captured == committed)
#define NOTHING_UNCOMMITTED (!trust || captured <= committed)
#ifdef WITH_READER
#define READER_IS_WHOLE (trust != 2 || foreign == NONE || in_file <= sees)
#else
#define READER_IS_WHOLE true
#endif
#define NOTHING_HIDDEN (in_file >= base + backfill || in_file >= committed)
#define CHAIN_FOLLOWS (captured == base)
#define HISTORY_IS_OURS (!rewritten)
#define SNAPSHOT_IS_EXACT (in_file == snapshot)
#define SNAPSHOT_REPLAYS (chain_base <= snapshot && snapshot <= captured)

/* ---- SQLite ---- */

#ifdef WITH_TORN
#define WHOLE !torn
#else
#define WHOLE true
#endif

#ifdef WITH_BARE
#define JOINABLE(i) (taken != i)
#else
#define JOINABLE(i) true
#endif

inline begin(slot)
{
	atomic {
#ifdef WITH_TORN
		!torn;
#endif
		if
		:: backfill == mx && !copying -> slot = 0
		:: mark1 == mx && JOINABLE(1) -> slot = 1
		:: mark2 == mx && JOINABLE(2) -> slot = 2
		:: mark1 == FREE && mark2 != mx -> mark1 = mx; slot = 1
		:: mark2 == FREE && mark1 != mx -> mark2 = mx; slot = 2
		:: mark1 < mx && mark2 < mx && mark1 > mark2 && JOINABLE(1) -> slot = 1
		:: mark1 < mx && mark2 < mx && mark2 >= mark1 && JOINABLE(2) -> slot = 2
#ifdef WITH_TRY
		:: mark1 < mx && !HELD(1) && mark2 != mx -> mark1 = mx; slot = 1
		:: mark2 < mx && !HELD(2) && mark1 != mx -> mark2 = mx; slot = 2
#endif
#ifdef WITH_BARE
		:: mark1 < mx && mark2 == UNUSED && JOINABLE(1) -> slot = 1
		:: mark2 < mx && mark1 == UNUSED && JOINABLE(2) -> slot = 2
#endif
		fi
	}
}

inline free_marks()
{
	if :: USED(1) :: else -> mark1 = FREE fi;
	if :: USED(2) :: else -> mark2 = FREE fi
}

/* One of ours. */
inline let(slot)
{
	d_step { slot = NONE; free_marks() }
}

#define CAN_RESTART (backfill == mx && !HELD(1) && !HELD(2) && last_salts < CHAINS)

inline restart_wal()
{
	assert(RESTART_WAS_CAPTURED);
#ifdef WITH_SYNC
	assert(trust != 2 || durable == committed || RESTART_WAS_DURABLE);
#endif
#ifdef WITH_OLD_CHAIN
	old_salts = salts; old_mx = mx;
#endif
	last_salts++;
	mark1 = FREE; mark2 = FREE;
	salts = last_salts; base = committed; mx = 0; backfill = 0; tail = 0;
#ifdef WITH_STOP
	left_over = 0
#endif
}

/*
 * Recovery makes a new index from the file: a commit frame that was not published counts from now on, and
 * nothing counts as copied.  If a restart had reached the index but not the file, the old chain is back.
 */
inline recover(frames)
{
#ifdef WITH_OLD_CHAIN
	if
	:: old_mx > 0 ->
		salts = old_salts; base = base - old_mx; mx = old_mx; backfill = 0;
		old_salts = 0; old_mx = 0
	:: else ->
#endif
		mx = frames; committed = base + mx; tail = 0; backfill = 0
#ifdef WITH_OLD_CHAIN
	fi
#endif
}

#ifdef WITH_OLD_CHAIN
#define CAN_RECOVER (!write_lock && !ckpt_lock && (backfill > 0 || old_mx > 0))
#else
#define CAN_RECOVER (!write_lock && !ckpt_lock && backfill > 0)
#endif

active proctype writer()
{
endless:
	do
	:: atomic {
		!write_lock && WHOLE && committed < COMMITS;
		write_lock = 1;
		/* What stands behind mx is overwritten now, so it never was committed. */
		assert(NOTHING_UNCOMMITTED);
		if
		:: CAN_RESTART && backfill > 0 -> restart_wal()
		:: true	/* began on a slot k, perhaps just before all was copied */
		fi;
#ifdef WITH_OLD_CHAIN
		if
		:: old_mx > 0 -> write_lock = 0; goto endless	/* dies before the file's header is written */
		:: true
		fi;
		old_salts = 0; old_mx = 0;
#endif
		tail = 1;
#ifdef WITH_STOP
		if :: mx + 1 >= chain_captured -> left_over = 0 :: else fi
#endif
	   }
	   if
	   :: d_step { mx++; committed++; tail = 0; write_lock = 0; assert(NOTHING_HIDDEN) }
	   :: write_lock = 0		/* dies, or its sync fails, before publication */
#ifdef WITH_TORN
	   :: d_step { torn = 1; write_lock = 0 }	/* dies while it publishes */
#else
	   :: d_step {			/* dies while it publishes: the next one to look recovers */
		!ckpt_lock -> recover(mx + 1); write_lock = 0
	   }
#endif
	   fi
#ifdef WITH_TORN
	:: d_step { torn && !write_lock && !ckpt_lock -> recover(mx + 1); torn = 0 }	/* the next one to look */
#endif
	:: d_step { CAN_RECOVER && WHOLE -> recover(mx + tail) }	/* dies while it announces a restart */
	od
}

#ifdef WITH_TRY
/*
 * A read of the application, step by step as walTryBeginRead does it.
 *
 * M_NO_RECHECK: SQLite does not look again at mark and header when it has the lock.  It does, and what we do relies on
 * it: the slot that was chosen may have been ours in between, and left without a mark.
 */
#ifdef M_NO_RECHECK
#define AS_CHOSEN true
#else
#define AS_CHOSEN (salts == try_salts && mx == try_mx && (foreign == 0 || (foreign == 1 -> mark1 : mark2) == mark))
#endif
#define BEST1 (mark1 <= try_mx && (mark1 > mark2 || mark2 > try_mx))
#define BEST2 (mark2 <= try_mx && (mark2 >= mark1 || mark1 > try_mx))

active proctype reader()
{
	byte try_salts, try_mx, mark;

endless:
	do
	:: d_step { WHOLE -> try_salts = salts; try_mx = mx };
	   if
	   :: atomic { backfill == try_mx && !copying -> foreign = 0; sees = FREE }
	   :: atomic {	/* a mark that is low is made a new one, on a slot that can be had exclusively */
		mark1 != try_mx && mark2 != try_mx;
		if
		:: !HELD(1) -> tries = 1; mark1 = try_mx
		:: !HELD(2) && HELD(1) -> tries = 2; mark2 = try_mx
		:: HELD(1) && HELD(2) && BEST1 -> tries = 1
		:: HELD(1) && HELD(2) && BEST2 -> tries = 2
		fi;
		mark = (tries == 1 -> mark1 : mark2)
	      }
	   :: atomic { mark1 == try_mx -> tries = 1; mark = mark1 }
	   :: atomic { mark2 == try_mx -> tries = 2; mark = mark2 }
	   :: atomic { else -> try_salts = 0; try_mx = 0; goto endless }
	   fi;
	   if
	   :: atomic { tries != 0 && JOINABLE(tries) -> foreign = tries; tries = 0; sees = FREE }
	   :: d_step { tries != 0 -> tries = 0; free_marks() }	/* it is locked */
	   :: tries == 0
	   fi;
	   d_step {
		if
		:: foreign != NONE && AS_CHOSEN -> sees = committed
		:: else -> foreign = NONE; sees = 0; free_marks()
		fi;
		try_salts = 0; try_mx = 0; mark = 0
	   }
	   if
	   :: d_step { foreign != NONE -> foreign = NONE; sees = 0; free_marks() }
	   :: foreign == NONE
	   fi
	od
}
#elif defined(WITH_READER)
active proctype reader()
{
endless:
	do
	:: atomic { begin(foreign); sees = committed }
	   d_step { foreign = NONE; sees = 0; free_marks() }
	od
}
#endif

#define PASSIVE 0
#define FULL 1		/* and RESTART: what it waits for at the end changes nothing */
#define TRUNCATE 2

/* A mark that nobody holds is taken away. */
inline mind(i, mark)
{
	if
	:: mark < safe && HELD(i) -> safe = mark
	:: mark < safe && !HELD(i) -> mark = FREE
	:: else
	fi
}

active proctype checkpointer()
{
	byte mode, seen, safe;	/* seen is mx of the header that was read, perhaps before a restart */

endless:
	do
	:: atomic {
		!ckpt_lock && WHOLE -> ckpt_lock = 1;
		if
		:: seen = mx; goto test
		:: mode = FULL
		:: mode = TRUNCATE
		fi
	   }
	   atomic {
		if
		:: !write_lock ->
			write_lock = 1;
#ifdef WITH_PROOFS
			insists = 1
#endif
		:: write_lock -> mode = PASSIVE		/* the busy handler gave up */
		fi;
		seen = mx
	   }
test:	   atomic {
		if
		:: backfill < seen -> safe = seen; mind(1, mark1)
		:: goto finish
		fi
	   }
	   d_step { mind(2, mark2) }
	   atomic {
		if
		:: backfill < safe && !HELD(0) ->
			copying = 1;
			if
			:: in_file < base + safe && in_file < base + mx ->
				in_file = base + (safe < mx -> safe : mx);
				assert(READER_IS_WHOLE)
			:: else
			fi
		:: goto finish
		fi
	   }
	   atomic {
		/* Not ours to answer for before our first guard: see ABSTRACTIONS. */
		if
		:: trust == 2 || in_file >= base + safe -> backfill = safe; assert(NOTHING_HIDDEN)
		:: true					/* interrupted, or killed */
		fi;
		copying = 0
	   }
finish:	   atomic {
		if
		:: mode == TRUNCATE && backfill >= seen && CAN_RESTART ->
			restart_wal();
#ifdef WITH_OLD_CHAIN
			old_salts = 0; old_mx = 0	/* the file is cut */
#endif
		:: true
		fi;
		if :: mode != PASSIVE -> write_lock = 0 :: else fi;
#ifdef WITH_PROOFS
		insists = 0;
#endif
		ckpt_lock = 0; mode = PASSIVE; seen = 0; safe = 0
	   }
	od
}

#ifdef WITH_STOP
active proctype nature()
{
	byte keep;

endless:
	do
	:: !stop && !down -> stop = 1
	:: atomic {
		/*
		 * Nobody is left and the index is gone.  What was not synced may be gone too, but not what was
		 * copied: a checkpoint syncs the WAL first.  A frame behind the hole may still be there.
		 */
		down && !power_lost && !write_lock && !ckpt_lock && foreign == NONE;
		power_lost = 1;
		keep = (in_file > base -> in_file - base : 0);
		do
		:: keep < mx + tail -> keep++
		:: break
		od;
		if
		:: chain_salts == salts && keep < chain_captured ->
			rewritten = 1;
			if :: left_over = 1 :: left_over = 0 fi
		:: else
		fi;
		recover(keep);
		keep = 0
	   }
	od
}
#endif

/* ---- The relay ---- */

/*
 * M_COMMIT_FLAGS: capture goes on to the last commit frame in the file.  Wrong: a writer that died before
 * it published has left one that never happened, and the next writer overwrites it with the same salts.
 */
#ifdef M_COMMIT_FLAGS
#define END_OF_CHAIN (mx + tail)
#else
#define END_OF_CHAIN mx
#endif

inline look()
{
	d_step { WHOLE -> saw_salts = salts; saw_mx = END_OF_CHAIN }
}

/*
 * M_NO_SYNC_STEP2, M_NO_SYNC_STEP5: what is captured is not made durable before slot 0 is all that is left to us.
 * Wrong: the WAL may begin anew, and what a loss of power then takes from the spool is nowhere.
 */
#ifdef WITH_SYNC
inline sync()
{
	durable = captured
}
#endif

/*
 * A proof for an empty WAL goes over to what comes next, under whatever salts.
 *
 * M_CARRY_AGAIN: it still counts as one for an empty WAL when the first frames come under the same salts.  Wrong: it
 * then goes over to the next chain as well.
 */
#ifdef WITH_PROOFS
inline carry()
{
	if
#ifdef M_CARRY_AGAIN
	:: proven_empty && saw_salts != proven ->
#else
	:: proven_empty ->
#endif
		proven = saw_salts; proven_empty = (saw_mx == 0)
	:: else
	fi
}
#endif

inline forget_look()
{
	saw_salts = 0; saw_mx = 0
}

/*
 * A new chain is ours from its first frame on, not from the header that announces it: while the index is
 * empty the restart may be undone (the writer died before it wrote the file's header, the index was
 * recovered from the old chain).
 *
 * M_SALTS_OF_EMPTY_INDEX: the announcement is believed.  Wrong: when the old chain comes back it is taken
 * for a new one, and its frames are captured a second time.
 */
#ifdef M_SALTS_OF_EMPTY_INDEX
#define HAS_BEGUN true
#else
#define HAS_BEGUN (saw_mx > 0)
#endif

/*
 * Look at the header, then read the frames up to it.  If the chain has changed in between nothing is taken,
 * and it is done again.
 */
inline capture()
{
	do
	:: look();
	   atomic {
#ifdef WITH_PROOFS
		carry();
#endif
		if
		:: saw_salts == salts ->
			if
			:: chain_salts != salts && HAS_BEGUN ->
				assert(CHAIN_FOLLOWS);
				chain_salts = salts;
#ifdef WITH_SNAPSHOT
				chain_base = captured;
#ifdef M_NEXT_NAME
				if
				:: named_next -> assert(captured <= next_snapshot); named_next = 0
				:: else
				fi
#endif
#endif
			:: else
			fi;
			if
			:: chain_salts == salts -> chain_captured = saw_mx; captured = base + saw_mx
			:: else
			fi;
			forget_look();
			break
		:: else -> forget_look()
		fi
	   }
	od
}

/*
 * The guard, and every other proof that no checkpointer is older than this chain: the checkpoint lock was
 * ours for a moment.
 *
 * M_PROOF_LATE: the salts that go with the proof are read after the lock was released, not under it.
 * Wrong: a checkpointer takes the lock and reads its header, the WAL restarts, and only then the salts
 * are read: the proof is written down for a chain that it does not cover.
 */
#ifdef M_PROOF_LATE
inline prove()
{
	ckpt_lock == 0 && proven != salts;
	proven = salts
}
#elif defined(WITH_PROOFS)
/*
 * Or one process of a single thread has both the checkpoint lock and the write lock.  It will not have read its header
 * before the restart, since it waits for the write lock first; and no writer can have restarted anything since.
 *
 * M_HOLDER_OF_EITHER: that both are held is enough, by whomever.  Wrong: a stale PASSIVE and a writer.
 */
#ifdef M_HOLDER_OF_EITHER
#define BY_HOLDER write_lock
#else
#define BY_HOLDER insists
#endif
inline prove()
{
	d_step {
		(ckpt_lock == 0 || BY_HOLDER) && (proven != salts || proven_empty) ->
		proven = salts; proven_empty = (mx == 0)
	}
}
#else
inline prove()
{
	d_step { ckpt_lock == 0 && proven != salts -> proven = salts }
}
#endif

/* M_PROOF_FOR_EVER: a proof is not tied to salts.  Wrong: the next restart makes new stale checkpointers. */
#ifdef M_PROOF_FOR_EVER
#define PROVEN (proven != 0)
#else
#define PROVEN (proven == salts)
#endif

/*
 * M_NO_GUARD: the first hold is guarded, and nothing is after it.  Wrong: a checkpointer that read its
 * header before the last restart finds slot 0 free, copies as many frames as the old chain had and counts
 * them all as copied.  Later frames that get these numbers are seen by nobody.
 *
 * M_GUARD_STEP2_ONLY: the guard is passed in step 2, not in step 5 and not in the walk.  Wrong: there, too,
 * slot 0 is let go for a slot k.
 */
#if defined(M_NO_GUARD)
#define MUST_GUARD false
#elif defined(M_GUARD_STEP2_ONLY)
#define MUST_GUARD (holder == 0 && other != 0 && !PROVEN && kind != WALK)
#else
#define MUST_GUARD (holder == 0 && other != 0 && !PROVEN)
#endif

/*
 * After a stop a generation goes on if the salts are equal, the index has at least the frames that we
 * have, and the checksum of our last frame is ours.
 *
 * M_NO_FRAME_COUNT: the frame in the file is enough.  Wrong: after a power loss it may stand behind a hole
 * at which the chain now ends.
 *
 * M_NO_CHECKSUM: salts and length are enough.  Wrong: after a power loss other commits take these places,
 * under the same salts.
 */
#ifdef M_NO_FRAME_COUNT
#define LONG_ENOUGH true
#else
#define LONG_ENOUGH (saw_mx >= chain_captured)
#endif
#ifdef M_NO_CHECKSUM
#define CHECKSUM_IS_OURS true
#else
#define CHECKSUM_IS_OURS (!rewritten || left_over)
#endif
/*
 * M_NO_GAP_AT_START: that the salts changed before the first capture was complete is overlooked.  Wrong:
 * the first hold may be on slot 0, under which all that was there may be overwritten.
 */
#ifdef M_NO_GAP_AT_START
#define STILL_THERE true
#else
#define STILL_THERE (saw_salts == salts || saw_mx == chain_captured)
#endif
#define GOES_ON (saw_salts == chain_salts && LONG_ENOUGH && CHECKSUM_IS_OURS && STILL_THERE)

/*
 * M_SNAPSHOT_BARE: a snapshot is called exact where we sit on a slot without a mark.  Wrong: a mark, or slot 0, keeps
 * later commits out of the database file; this does not.
 */
#if defined(WITH_BARE) && !defined(M_SNAPSHOT_BARE)
#define KEEPS_FILE (holder == 0 || holder == 1 && mark1 != UNUSED || holder == 2 && mark2 != UNUSED)
#else
#define KEEPS_FILE true
#endif

/*
 * How we begin: by an ordinary read of SQLite, or by the lock of a slot alone.  Slot 0: the lock, then a look at the
 * index.  Slot k: the lock exclusively, then the mark of a slot that is not in use, so that it limits nobody.
 *
 * M_TAKE_SHARED: slot k is locked shared, as readers do.  Wrong: with another process on it the mark is that one's as
 * well, and nothing else keeps checkpoints from copying over pages that it has still to read.
 *
 * M_MARK_FIRST: the mark is written before the lock is taken.  Wrong: in between a reader takes the slot.
 */
#ifdef WITH_BARE
inline take(slot, i, mark)
{
#if defined(M_TAKE_SHARED)
	atomic { slot == NONE && (mark <= COMMITS || !HELD(i)) -> slot = i; mark = UNUSED }
#elif defined(M_MARK_FIRST)
	slot == NONE && !HELD(i);
	if
	:: atomic { !HELD(i) -> slot = i; mark = UNUSED }
	:: d_step { HELD(i) -> mark = UNUSED }
	fi
#elif defined(WITH_TRY)
	d_step { slot == NONE && !HELD(i) -> slot = i; taken = i };
	d_step { mark = UNUSED; taken = 0 }
#else
	d_step { slot == NONE && !HELD(i) -> slot = i; mark = UNUSED }
#endif
}

inline begin_ours(slot)
{
	do
	:: atomic { slot == NONE -> begin(slot) }
	:: take(slot, 1, mark1)
	:: take(slot, 2, mark2)
	:: atomic { slot == NONE && backfill == mx && !copying -> slot = 0 };
	   if
	   :: backfill == mx
	   :: backfill != mx -> let(slot)
	   fi
	:: atomic { slot != NONE -> break }
	od;
	skip
}
#else
inline begin_ours(slot)
{
	begin(slot)
}
#endif

#ifdef WITH_ASIDE
/*
 * To make a checkpoint of the application stop waiting for our slot, its mark is lowered by one: the next begin
 * takes another slot.  The code does it in the walk; here it may happen at any time.
 */
active proctype aside()
{
endless:
	do
	:: d_step { (holder == 1 || other == 1) && mark1 == mx && mx > 0 -> mark1-- }
	:: d_step { (holder == 2 || other == 2) && mark2 == mx && mx > 0 -> mark2-- }
	od
}
#endif

#define ADVANCE 1	/* steps 2 to 5 */
#define FORCED 2	/* the same under the write lock */
#define WALK 3		/* the copying is left to a checkpointer that insists */

active proctype relay()
{
	byte saw_salts, saw_mx, proven, kind, safe;
	bit own_copy;
#ifdef WITH_PROOFS
	bit proven_empty;	/* the WAL was empty then */
#endif
#ifdef WITH_SNAPSHOT
	byte chain_base;	/* commits before the index that capture is in */
	byte snapshot;		/* commits that the snapshot holds */
	bit frozen;
#ifdef M_NEXT_NAME
	byte next_snapshot;
	bit named_next;
#endif
#endif

start:
	{
#ifdef WITH_STOP
	down = 0;
#else
	true;
#endif

	/* Step 1: hold. */
hold:
	look();
	begin_ours(holder);
	/*
	 * M_ONE_LOOK: the header is not read again after the begin.  Wrong: by then more may have been
	 * committed and copied, so that slot 0 covers frames that the capture does not know of.
	 */
#ifndef M_ONE_LOOK
	if
	:: saw_salts == salts && saw_mx == mx
#ifdef WITH_BARE
	/* On a slot that is ours by its lock: what the index says from now on stays in the WAL. */
	:: holder == 1 && mark1 == UNUSED || holder == 2 && mark2 == UNUSED -> look()
#endif
	:: else -> let(holder); goto hold
	fi;
#endif
	d_step {
		if
#ifdef WITH_STOP
		:: GOES_ON ->
			assert(HISTORY_IS_OURS);
			if
			:: saw_salts == salts -> chain_captured = saw_mx; captured = base + saw_mx
			:: else
			fi;
			trust = 1
#ifdef M_COUNT_SALTS
		/*
		 * M_COUNT_SALTS: salt-1 is one higher, so the WAL was restarted once, and what the old chain
		 * still held is read from the file.  Wrong: TRUNCATE has cut it off, nothing is found and
		 * nothing is missed.
		 */
		:: chain_salts != 0 && saw_salts == chain_salts + 1 && saw_salts == salts ->
			assert(CHAIN_FOLLOWS);
			chain_salts = salts; chain_captured = saw_mx; captured = base + saw_mx; trust = 1
#endif
#endif
		:: else ->	/* a gap: a new generation, which begins with a snapshot */
			chain_salts = 0; chain_captured = 0;
#ifdef WITH_STOP
			rewritten = 0; left_over = 0;
#endif
			if
			:: saw_salts == salts ->
				chain_salts = salts; chain_captured = saw_mx; captured = base + saw_mx;
				trust = 1;
#ifdef WITH_SNAPSHOT
				chain_base = base;
#endif
#if defined(WITH_OLD_CHAIN) && !defined(M_SALTS_OF_EMPTY_INDEX)
				/* The index is empty: we stand at the end of what the file's header names. */
				if
				:: saw_mx == 0 && old_mx > 0 -> chain_salts = old_salts; chain_captured = old_mx
				:: else
				fi
#endif
			:: else
			fi
		fi;
		forget_look()
	}
	if :: !trust -> let(holder); goto hold :: trust fi;
	/*
	 * M_NO_FIRST_GUARD: the first hold is believed without a guard.  Wrong: a checkpointer may be stale
	 * already, and slot k does not stop one that has looked at the marks.
	 */
#ifndef M_NO_FIRST_GUARD
	prove();
#endif
#ifdef WITH_SYNC
	d_step { sync(); trust = 2 };
#else
	trust = 2;
#endif

parked:
	if
	:: capture(); goto parked
#ifndef M_NO_GUARD
	:: prove(); goto parked		/* early, whenever the lock is free */
#endif
#ifdef WITH_SNAPSHOT
	:: atomic {
		frozen && !reading && KEEPS_FILE ->
		reading = 1;
		assert(SNAPSHOT_IS_EXACT);
		/*
		 * M_NEXT_NAME: the snapshot is named after the next index.  Wrong: if the WAL does not restart
		 * exactly here, because a reader keeps it or because it is empty, the frames between belong
		 * to this index and are never replayed.
		 */
#ifdef M_NEXT_NAME
		named_next = 1; next_snapshot = snapshot;
#else
		assert(SNAPSHOT_REPLAYS);
#endif
		goto parked
	   }
	:: atomic { reading -> reading = 0; frozen = 0; assert(SNAPSHOT_IS_EXACT); goto parked }
#endif
	:: atomic { kind = ADVANCE; goto round }
#ifdef WITH_FORCED
	/*
	 * M_RAW_WAITS: under the write lock an index is waited for that only who takes that lock can recover.
	 */
#if defined(WITH_TORN) && !defined(M_RAW_WAITS)
	:: atomic {
		!write_lock -> write_lock = 1;
		if
		:: torn -> write_lock = 0; goto parked
		:: !torn -> kind = FORCED; goto round
		fi
	   }
#else
	:: atomic { !write_lock -> write_lock = 1; kind = FORCED; goto round }
#endif
#endif
	/*
	 * The walk may begin at any time: a false alarm costs nothing.
	 *
	 * M_WALK_UNLOCKED: the walk ends one read before it begins the other.  Wrong: in that moment the rest
	 * is copied and a writer restarts the WAL.
	 *
	 * M_WALK_CAPTURE_FIRST: the walk captures before the other begins.  Wrong: frames that come in between
	 * are under the other's mark, get copied, and are given up with it when the walk goes on with step 3.
	 */
#ifdef WITH_MEET
	:: goto meet
#endif
	/* M_DROP_BETWEEN: a read is let go before the slot without a mark is taken.  Wrong: in between nobody holds. */
#ifdef M_DROP_BETWEEN
	:: let(holder); take(holder, 1, mark1); goto parked
#endif
#if defined(M_WALK_UNLOCKED)
	:: kind = WALK; let(holder); goto round
#elif defined(M_WALK_CAPTURE_FIRST)
	:: kind = WALK; capture(); goto round
#elif defined(WITH_WALK)
	:: atomic { kind = WALK; goto round }
#endif
	fi;

	/* Step 2: advance. */
round:
	atomic {
#ifdef WITH_SNAPSHOT
		/*
		 * M_SNAPSHOT_THROUGH_ROUND: the copying of a snapshot goes on over a round.  Wrong: the round
		 * lets newer frames into the database file, so the snapshot is no exact one any more.
		 */
		frozen = 0;
#ifndef M_SNAPSHOT_THROUGH_ROUND
		snapshot = 0; reading = 0;
#endif
#endif
		skip
	}
	begin_ours(other);
	/*
	 * M_END_FIRST: the holder ends before the capture.  Wrong: if the other is on slot 0, because a
	 * foreign checkpoint copied up to the holder's mark, a writer can restart the WAL at once.
	 */
#if defined(M_WALK_CAPTURE_FIRST)
	if :: kind != WALK -> capture() :: kind == WALK fi;
#elif !defined(M_END_FIRST)
	capture();
#endif
	if
#ifndef M_NO_GUARD
	:: MUST_GUARD ->
		/*
		 * M_BUSY_COPIES, M_BUSY_WALKS: where the lock is busy the round (the walk) goes on without
		 * guard or proof.  Wrong: the one that keeps it busy is the one to be afraid of.
		 */
		if
		:: prove()
#ifdef M_BUSY_COPIES
		:: ckpt_lock && kind != WALK
#endif
#ifdef M_BUSY_WALKS
		:: ckpt_lock && kind == WALK
#endif
		:: ckpt_lock -> let(other); goto let_go		/* stay as we were, look again later */
		fi;
		let(holder)
#endif
	:: atomic {
		!MUST_GUARD ->
#if defined(WITH_SYNC) && !defined(M_NO_SYNC_STEP2)
		if :: other == 0 || kind == WALK -> sync() :: else fi;
#endif
		let(holder)
	   }
	fi;
#ifdef M_END_FIRST
	capture();
#endif

	/* Step 3: copy, or let the one that insists do it. */
	if
	:: kind == WALK && mx == backfill
	:: d_step {
		/*
		 * Our own checkpoint is taken apart only where it copies.  Its header is never stale then: the
		 * other is on a slot k and forbids restarts.  If it is on slot 0 only the proof is gained.
		 */
		!ckpt_lock ->
		kind = (kind == WALK -> ADVANCE : kind);
		proven = salts;
#ifdef WITH_PROOFS
		proven_empty = (mx == 0);
#endif
		safe = mx;
		mind(1, mark1);
		mind(2, mark2);
		if
		:: backfill < safe && !HELD(0) ->
			ckpt_lock = 1; copying = 1; own_copy = 1;
			in_file = (in_file < base + safe -> base + safe : in_file);
			assert(READER_IS_WHOLE)
		:: else
		fi
	   }
	   d_step {
		if
		:: own_copy ->
			backfill = safe;
			assert(NOTHING_HIDDEN);
			ckpt_lock = 0; copying = 0; own_copy = 0
		:: else
		fi;
		safe = 0
	   }
	:: kind = (kind == WALK -> ADVANCE : kind)	/* BUSY: the application is doing our work */
	fi;

	/*
	 * Step 5: park.
	 *
	 * M_PARK_CAPTURE_FIRST: the capture comes before the begin.  Wrong: what is committed and copied in between is
	 * under slot 0, and not captured.
	 */
#ifdef M_PARK_CAPTURE_FIRST
	capture();
#endif
#ifdef WITH_SNAPSHOT
	d_step { look(); frozen = (backfill == mx) }
#endif
	begin_ours(holder);
#ifdef WITH_SNAPSHOT
	d_step {
		if
		:: frozen && saw_salts == salts && saw_mx == mx ->
#ifdef M_SNAPSHOT_THROUGH_ROUND
			if :: reading :: else -> snapshot = committed fi
#else
			snapshot = committed
#endif
		:: else -> frozen = 0
		fi;
		forget_look()
	}
#endif
	if
	:: d_step { holder != 0 -> holder = other; other = NONE; free_marks() }
#ifdef WITH_STEP5
	/* The form of the specification: the slot k that was got is kept. */
	:: holder != 0 ->
#if !defined(M_NO_GUARD) && !defined(M_GUARD_STEP2_ONLY)
		if
		:: other == 0 && !PROVEN -> prove()
		:: other != 0 || PROVEN
		fi;
#endif
		capture();
		let(other)
#endif
	/*
	 * Slot 0 means that all is copied.  It does not mean that all is captured: without a mark of ours a
	 * checkpoint may have copied beyond.
	 *
	 * M_PARK_UNCAPTURED: the other ends without a capture.  Wrong: a writer begins the WAL anew.
	 *
	 * M_PARK_UNSYNCED: the sync comes before that capture.  Wrong: it leaves out what is captured now.
	 */
	:: holder == 0 ->
#ifdef M_PARK_UNSYNCED
		sync();
#endif
#if !defined(M_PARK_UNCAPTURED) && !defined(M_PARK_CAPTURE_FIRST)
		capture();
#endif
		atomic {
#if defined(WITH_SYNC) && !defined(M_NO_SYNC_STEP5) && !defined(M_PARK_UNSYNCED)
			sync();
#endif
			let(other)
		}
	fi;
let_go:
	atomic {
		if :: kind == FORCED -> write_lock = 0 :: else fi;
		kind = 0;
		goto parked
	}

#ifdef WITH_MEET
	/*
	 * Going along with a checkpoint of the application, so that slot 0 is ours the moment that all is copied: all
	 * is captured and durable; slot 0 by its lock; if the index is still the same, and all of it copied, the
	 * holder ends.
	 *
	 * M_MEET_AS_SEEN: the index is not looked at again under the lock.  Wrong: a commit may have come in between,
	 * and been copied.
	 */
meet:
	capture();
	atomic {
#ifdef WITH_SYNC
		sync();
#endif
#ifdef WITH_SNAPSHOT
		frozen = 0; snapshot = 0; reading = 0;
#endif
		skip
	}
	atomic { !copying -> other = 0 };
	if
#ifdef M_MEET_AS_SEEN
	:: d_step { backfill == mx -> holder = other }
#else
	:: d_step { captured == committed && backfill == mx -> holder = other }
#endif
	:: true
	fi;
	atomic { let(other); goto parked }
#endif
	}
#ifdef WITH_STOP
	/* Stop, crash, kill: all locks are gone, the position is what is left. */
	unless {
		atomic {
			stop -> stop = 0;
			down = 1; trust = 0;
			holder = NONE; other = NONE; free_marks();
#ifdef WITH_BARE
			taken = 0;
#endif
			if :: kind == FORCED -> write_lock = 0 :: else fi;
			if :: own_copy -> copying = 0; ckpt_lock = 0; own_copy = 0 :: else fi;
			proven = 0; kind = 0; safe = 0;
#ifdef WITH_PROOFS
			proven_empty = 0;
#endif
			forget_look();
			goto start
		}
	}
#endif
}
