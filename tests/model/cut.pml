// SPDX-License-Identifier: Apache-2.0
/*
 * The cut: how a crash-consistent image is read from a device that nobody
 * holds still, how no mark is ever lost, and what a killed daemon leaves.
 *
 * Who is who
 *   writer	an application with one request in flight at a time, together
 *		with the tracker's issue and completion programs.  Two of them:
 *		writes of one writer depend on each other (the next is issued
 *		after the last has landed), writes of the two may overlap.
 *   agent	the daemon's cut engine, and the replica it stages at.
 *
 * One statement is one access to memory that another process also touches.
 * Steps that touch only what their own process sees are folded into a
 * neighbour.  All accesses are sequentially consistent: the C and BPF code
 * has to use fully ordered read-modify-write operations for each of them.
 *
 * The device is NB tracking blocks.  Each block is split into one cell per
 * writer: two requests inside one tracking block are common, two at once on
 * the same sectors are not a thing an application may do.
 *
 * What a request may do: land on the medium at any time after its issue
 * program ended; lose its completion event, for good or until its slot is
 * used again; cover two blocks (-DWIDE), landing on each at its own moment;
 * be put back by the driver and be issued again, its tag having served
 * somebody else meanwhile (-DREQUEUE).
 *
 * The agent flips and collects for ever; it may be killed, or see a point
 * fail, FAULTS times in all, at any step.  A round may go on, stage and
 * collect while a point waits for its acknowledgement.
 *
 * What must hold
 *   Legal image.  Every image that is committed is a state in which a power
 *   cut at the instant of the flip could have left the device: each cell
 *   holds what was on the medium at the flip, or the one write that was in
 *   flight on it then.  That is more than being closed under "completed
 *   before issued": if a write issued after the flip is never in, and
 *   everything that landed before the flip always is, then whatever is in
 *   brings all it depends on with it.
 *   Nothing lost.  Follows: with no write in flight at a flip, the image that
 *   is committed for it is the device, however many faults came before.
 *   It settles.  Once the writers have stopped, at most one more round ends in
 *   conflict before one commits.
 *
 * Values are not kept, only each cell's relation to the last flip:
 *   medium	unchanged | landed_old: the write in flight at the flip has
 *		landed | landed_new: one issued after the flip has
 *   image	right | img_old: that in-flight write | bad: anything else,
 *		and also "nobody knows": after a fault, whatever is not known
 *		to be durable at the replica may be there or not
 * At a flip, an image cell that does not match the medium becomes bad; one
 * that was read too new becomes bad even if it matches by luck.
 *
 * Once no fault is left to happen, what serves only to survive one (pending,
 * unacked, release, outstanding) is no longer kept up: nothing reads it.
 *
 * Sizes: WRITES in all, FAULTS; EAGER: reads start before the round has
 * collected every leaf; FINE: the two cells of a block are read one after
 * the other (torn reads); ONE_WORD: the blocks share a leaf word.
 * AS_BUILT: as the program does it in places where the rules leave a choice:
 * a count of flips, one pass over the registry in a round, summaries cleared
 * when a new process drains.
 *
 * A_...: the same model with one rule left out; the search must object.
 * R_...: with a precaution left out that the rest makes redundant; it must hold.
 */
#ifndef WRITES
#define WRITES	2
#endif
#ifndef FAULTS
#define FAULTS	1
#endif

#define NB		2
#define NW		2
#define BIT(n)		(1 << (n))
#define CELL(b, i)	(1 << ((b) * NW + (i)))
#define CELLS(b)	(3 << ((b) * NW))
#define CELLS_OF(m)	((((m) & 1) * 3) | (((m) & 2) * 6))

#ifdef ONE_WORD
#define WORDS_N		1
#define WORD_MASK(w)	3
#define WORDS_OF(m)	((m) != 0)
#else
#define WORDS_N		2
#define WORD_MASK(w)	BIT(w)
#define WORDS_OF(m)	(m)
#endif

/* Pinned maps: they outlive the daemon. */
bit gen;			/* the generation that is marked now */
byte leaf[2], summary[2];	/* per generation: one bit a block, a word */
byte slot[NW];			/* in-flight registry: blocks, 0 is free */
byte pending;			/* collected, not yet known to be durable */

/* The daemon's own memory: it dies with it. */
byte todo;			/* blocks this round still has to read */
byte carry;			/* seen in flight: the next round reads again */
byte unacked;			/* staged and not acknowledged */
byte release;			/* what the awaited ack takes out of pending */
bit outstanding;		/* a commit was sent, no answer yet */
bit conflict;			/* this round has read something too new */

/* The replica's image and the medium, as relations to the last flip. */
byte landed_old, landed_new, img_old, bad;
byte flying[NW];		/* a writer's blocks that have not landed yet */
byte flew[NW];			/* of those, the ones that flew at the flip */

byte left = WRITES, faults;
bit quiet;			/* the last flip came after the last write */
bit lost_round;			/* a round after that met a conflict */

#define FAULT_LEFT	(faults < FAULTS)

/* One leaf word, then its summary bit; word after word. */
#ifdef A_SUMMARY_FIRST
#define set_word(x) \
	summary[g] = summary[g] | WORDS_OF(x); \
	leaf[g] = leaf[g] | (x)
#else
#ifdef A_LEAF_IMPLIES_SUMMARY
#define set_word(x) \
	if \
	:: (leaf[g] & (x)) == (x) \
	:: d_step { (leaf[g] & (x)) != (x) -> leaf[g] = leaf[g] | (x) }; \
		summary[g] = summary[g] | WORDS_OF(x) \
	fi
#else
#ifdef A_REREAD_BEFORE_SUMMARY
#define set_word(x) \
	leaf[g] = leaf[g] | (x); \
	if \
	:: d_step { g != gen -> g = gen }; \
		leaf[g] = leaf[g] | (x) \
	:: g == gen \
	fi; \
	summary[g] = summary[g] | WORDS_OF(x)
#else
#define set_word(x) \
	leaf[g] = leaf[g] | (x); \
	summary[g] = summary[g] | WORDS_OF(x)
#endif
#endif
#endif

inline set_bits(x)
{
	if
	:: WORDS_N == 1 || ((x) & ((x) - 1)) == 0 ->
		set_word(x)
	:: WORDS_N > 1 && ((x) & ((x) - 1)) != 0 ->
		set_word(1);
		set_word(2)
	fi
}

#ifdef A_MARK_AT_COMPLETION
/*
 * Cells that have landed and whose completion program has not ended.  The
 * application has not been told: no image need hold them yet.
 */
byte untold;
#define land_untold(b)	untold = untold | CELL(b, me)
#define rebase() \
	bad = (bad | (img_old ^ landed_old) | landed_new) & ~untold; \
	img_old = (img_old | bad) & untold; \
	landed_old = untold
#else
#define land_untold(b)	skip
#define rebase() \
	bad = bad | (img_old ^ landed_old) | landed_new; \
	img_old = 0; \
	landed_old = 0
#endif

inline land(b)
{
	land_untold(b);
	m = 0;
	g = 0;
	flying[me] = flying[me] & ~BIT(b);
	if
	:: flew[me] & BIT(b) ->
		flew[me] = flew[me] & ~BIT(b);
		landed_old = landed_old | CELL(b, me)
	:: else ->
		landed_new = landed_new | CELL(b, me)
	fi
}

/* A slot still live is a lost completion: mark what it held as well. */
#ifdef A_SLOT_AFTER_MARK
#define take_slot()	m = flying[me]
#else
#ifdef R_NO_REUSE_MARK
#define take_slot()	slot[me] = flying[me]; m = flying[me]
#else
#define take_slot()	m = flying[me] | slot[me]; slot[me] = flying[me]
#endif
#endif

/*
 * The generation is read, marked in, read again.  With AS_BUILT what is
 * compared is a count of flips; else the generation, and two flips in between
 * go unnoticed.
 */
#ifdef AS_BUILT
bit flipped[NW];
#define MOVED	flipped[me]
#else
#define MOVED	(g != gen)
#endif

inline mark()
{
	d_step {
		g = gen;
#ifdef AS_BUILT
		flipped[me] = 0
#endif
	}
	set_bits(m);
#if !defined(A_NO_REREAD) && !defined(A_REREAD_BEFORE_SUMMARY)
	if
	:: d_step { MOVED -> g = gen };
		set_bits(m)
	:: d_step { !MOVED -> m = 0; g = 0 }
	fi
#endif
}

proctype writer(bit me)
{
	byte m;
	bit g;

end:
	do
	/* The writers are alike: the first write is writer 0's. */
	:: atomic { flying[me] == 0 && left > 0 && (me == 0 || left < WRITES) ->
			left--;
			if
			:: m = 1
			:: m = 2
#ifdef WIDE
			:: m = 3
#endif
			fi;
			flying[me] = m;
			take_slot()
		}
marking:
#ifndef A_MARK_AT_COMPLETION
		mark();
#endif
#ifdef A_SLOT_AFTER_MARK
		slot[me] = flying[me];
#endif
#ifdef REQUEUE
		/* Not taken by the device: issued again, under any tag. */
		if
		:: atomic { take_slot() }
			goto marking
		:: slot[me] = 0;
			atomic { take_slot() }
			goto marking
		:: skip
		fi;
#endif
		if
		:: d_step { flying[me] & 1 -> land(0) }
		:: d_step { flying[me] & 2 -> land(1) }
		fi;
#ifdef A_PART_CLEARS_SLOT
		slot[me] = 0;
#endif
#ifdef WIDE
		if
		:: d_step { flying[me] & 1 -> land(0) }
		:: d_step { flying[me] & 2 -> land(1) }
		:: flying[me] == 0
		fi;
#endif
#ifdef A_MARK_AT_COMPLETION
		m = slot[me];
		mark();
		d_step {
			m = 0;
			g = 0;
			untold = untold & ~(CELL(0, me) | CELL(1, me))
		}
#endif
	/*
	 * The completion event, if it comes: the writer may long have gone
	 * on, up to the point where the slot is used again.
	 */
	:: d_step { slot[me] != 0 && flying[me] == 0 -> slot[me] = 0 }
	od
}

/* Whatever is not known to be durable may be at the replica or not. */
#define forget(m) \
	bad = bad | CELLS_OF(m); \
	img_old = img_old & ~CELLS_OF(m)

#define forget_point() \
	forget(unacked); \
	unacked = 0; release = 0; outstanding = 0; lost_round = 0

#define read_cells(c) \
	img_old = (img_old & ~(c)) | (landed_old & ~landed_new & (c)); \
	bad = (bad & ~(c)) | (landed_new & (c))

/* Nothing reads the crash bookkeeping once the last fault has happened. */
#define retire_bookkeeping() \
	if \
	:: FAULT_LEFT \
	:: else -> pending = 0 \
	fi

#define to_pending(m) \
	if \
	:: FAULT_LEFT -> pending = pending | (m) \
	:: else \
	fi

#ifdef A_ACK_CLEARS_RECOLLECTED
#define collected_again(m)	skip
#else
#define collected_again(m)	release = release & ~(m)
#endif
#ifdef A_ACK_CLEARS_CARRIED
#define carried_again(m)	skip
#define RELEASED_AT_COMMIT	unacked
#else
#define carried_again(m)	release = release & ~(m)
#define RELEASED_AT_COMMIT	(unacked & ~carry)
#endif

#ifdef A_SCAN_BEFORE_FLIP
byte flight;			/* the registry as it was before the flip */
#define in_flight(b)	(flight & BIT(b))
#else
#define in_flight(b)	((slot[0] | slot[1]) & BIT(b))
#endif

/* Look at the registry: still in flight is carried into the next round. */
#if defined(A_NO_CARRY) || defined(AS_BUILT)
#define scan_registry()	skip
#else
#define scan_registry() \
	if \
	:: in_flight(b) && !(no_scan & BIT(b)) -> \
		carry = carry | BIT(b); \
		carried_again(BIT(b)) \
	:: else \
	fi
#endif

/* The ablations have to be caught by the image, not by this. */
#ifdef IMAGE_ONLY
#define settles()	skip
#else
#define settles()	assert(!lost_round)
#endif

#define check_redirtied() \
	if \
	:: leaf[gen] & BIT(b) -> conflict = 1 \
	:: else \
	fi

#ifdef A_CARRY_ONCE
byte no_scan;			/* blocks whose registry check is left out */
#else
#define no_scan	0
#endif
#ifdef A_SUMMARY_CLEARED_LAST
bit clear_late;
#else
#define clear_late	0
#endif
/*
 * AS_BUILT: the registry is gone through once, after the last leaf and before
 * the first read, and only for what is fresh: collected or carried.
 */
#ifdef AS_BUILT
byte fresh, scanned;
#define SCANNED		(scanned == NW)
#define fresh_from(m)	fresh = fresh | (m)
#else
#define SCANNED		true
#define fresh_from(m)	skip
#endif
#if defined(EAGER) || defined(A_STOP_AT_CONFLICT)
#define MAY_READ	(todo != 0)
#else
#define MAY_READ	(todo != 0 && s == 0 && SCANNED)
#endif
#define ROUND_OVER	(todo == 0 && s == 0 && SCANNED && !clear_late)

active proctype agent()
{
	byte w, b, s, l;

	atomic { run writer(0); run writer(1) }

start:	/* A new process: the retired generation goes into pending first. */
#ifndef A_NO_DRAIN
#if defined(AS_BUILT)
	summary[1 - gen] = 0;
#endif
	do
	:: w < WORDS_N ->
		d_step {
			l = leaf[1 - gen] & WORD_MASK(w);
#ifdef A_DRAIN_BY_SUMMARY
			if
			:: summary[1 - gen] & BIT(w)
			:: else -> l = 0
			fi;
#endif
#ifdef A_FORGET_PENDING
			todo = todo | l;
#endif
			pending = pending | l
		}
		if
		:: d_step {
			leaf[1 - gen] = leaf[1 - gen] & ~l;
			l = 0;
			w++
		   }
		:: FAULT_LEFT -> goto die
		fi
	:: w == WORDS_N -> w = 0; break
	:: FAULT_LEFT -> goto die
	od;
#endif
#ifndef A_FORGET_PENDING
	todo = pending;
#ifdef AS_BUILT
	carry = pending;
#endif
#endif
	retire_bookkeeping();

round:
#ifdef A_SUMMARY_BEFORE_FLIP
	atomic { s = summary[gen]; summary[gen] = 0 }
#endif
#ifdef A_SCAN_BEFORE_FLIP
	flight = slot[0];
	flight = flight | slot[1];
#endif
	if
	:: d_step {
		gen = 1 - gen;
#ifdef A_CARRY_ONCE
		no_scan = carry;
#endif
		todo = todo | carry;
#ifdef AS_BUILT
		fresh = carry;
		scanned = 0;
		flipped[0] = 1;
		flipped[1] = 1;
#endif
		carry = 0;
		conflict = 0;
		rebase();
		landed_new = 0;
		flew[0] = flying[0];
		flew[1] = flying[1];
		quiet = (left == 0 && flying[0] == 0 && flying[1] == 0)
	   }
	:: FAULT_LEFT -> goto die
	fi;
#ifndef A_SUMMARY_BEFORE_FLIP
	if
#ifdef A_SUMMARY_CLEARED_LAST
	:: d_step { s = summary[1 - gen]; clear_late = 1 }
#else
	:: d_step { s = summary[1 - gen]; summary[1 - gen] = 0 }
#endif
	:: FAULT_LEFT -> goto die
	fi;
#endif

	do
	/* Collect one leaf word: load, remember, clear what was seen. */
	:: s != 0 ->
		d_step {
			w = (s & 1 -> 0 : 1);
			l = leaf[1 - gen] & WORD_MASK(w);
			w = 0;
			todo = todo | l;
			fresh_from(l);
			collected_again(l);
#ifdef A_LEAF_EXCHANGED
			leaf[1 - gen] = leaf[1 - gen] & ~l
#else
			to_pending(l)
#endif
		}
		if
#ifdef A_LEAF_EXCHANGED
		:: d_step { to_pending(l); l = 0; s = s & (s - 1) }
#else
#ifdef A_LEAF_ZEROED
		:: d_step {
			leaf[1 - gen] = leaf[1 - gen] &
					   ~(s & 1 -> WORD_MASK(0) : WORD_MASK(1));
			l = 0;
			s = s & (s - 1)
		   }
#else
		:: d_step {
			leaf[1 - gen] = leaf[1 - gen] & ~l;
			l = 0;
			s = s & (s - 1)
		   }
#endif
#endif
		:: FAULT_LEFT -> goto die
		fi
#ifdef A_SUMMARY_CLEARED_LAST
	:: d_step { s == 0 && clear_late -> summary[1 - gen] = 0; clear_late = 0 }
#endif
#ifdef AS_BUILT
	:: d_step { s == 0 && scanned < NW ->
#ifndef A_NO_CARRY
			carry = carry | (slot[scanned] & fresh);
			carried_again(carry);
#endif
			scanned++;
			if
			:: scanned == NW -> fresh = 0
			:: else
			fi
		}
#endif
	/* Read one block: registry, read, then its bit in the active leaf. */
	:: MAY_READ ->
		atomic {
			if
			:: todo & 1 -> b = 0
			:: todo & 2 -> b = 1
			fi;
			todo = todo & ~BIT(b);
			if
			:: FAULT_LEFT -> unacked = unacked | BIT(b)
			:: else
			fi;
#ifdef A_CHECK_AT_SUBMIT
			check_redirtied();
#endif
#ifndef A_SCAN_AFTER_READ
			scan_registry()
#endif
		}
#ifdef FINE
		d_step { read_cells(CELL(b, 0)) }
		d_step { read_cells(CELL(b, 1)) }
#else
		d_step { read_cells(CELLS(b)) }
#endif
#ifdef A_SCAN_AFTER_READ
		d_step { scan_registry() }
#endif
		d_step {
#if !defined(A_NO_READ_CHECK) && !defined(A_CHECK_AT_SUBMIT)
			check_redirtied();
#endif
			b = 0
		}
#ifdef A_STOP_AT_CONFLICT
	:: d_step { conflict -> s = 0 }
		break
#endif

	/* The awaited answer: durable, or failed (perhaps durable as well). */
	:: d_step { outstanding ->
			pending = pending & ~release;
			unacked = unacked & ~release;
			release = 0;
			outstanding = 0
		}
	:: d_step { outstanding && FAULT_LEFT ->
			faults++;
			forget_point();
#ifndef A_FAIL_FORGETS
			todo = todo | pending;
#endif
			retire_bookkeeping()
		}

	/* The end of the round. */
	:: ROUND_OVER && !conflict && !outstanding ->
		d_step {
			assert(bad == 0);
			release = (FAULT_LEFT -> RELEASED_AT_COMMIT : 0);
#ifdef A_CLEAR_AT_COMMIT
			pending = pending & ~release;
#endif
			outstanding = FAULT_LEFT;
			lost_round = 0
		}
		break
	:: ROUND_OVER && (conflict || outstanding) ->
		d_step {
			if
			:: conflict && quiet ->
				settles();
				lost_round = 1
			:: else
			fi
		}
		break
	:: FAULT_LEFT -> goto die
	od;
#ifdef A_CARRY_ONCE
	no_scan = 0;
#endif
	goto round;

die:
	faults++;
	d_step {
		forget_point();
		todo = 0; carry = 0; conflict = 0;
#ifdef A_CARRY_ONCE
		no_scan = 0;
#endif
#ifdef A_SUMMARY_CLEARED_LAST
		clear_late = 0;
#endif
#ifdef AS_BUILT
		fresh = 0; scanned = 0;
#endif
		w = 0; b = 0; s = 0; l = 0
	}
	goto start
}
