// SPDX-License-Identifier: Apache-2.0
/*
 * Session, acknowledgement and resumption: what a source may believe about a
 * replica when either of them dies, the connection breaks, the replica's disk
 * is put back to an older copy, somebody else writes under the same name, or
 * the replica is promoted.
 *
 * The cut itself is cut.pml's matter: here a flip hands over the device as it
 * is (snap), and shipping that image takes time.  A block holds one bit, so a
 * value comes back when it is written twice: "the same as before" is where
 * fingerprint shortcuts go wrong.
 *
 * Source
 *	outlives its process: the last acknowledged (seq, head); a table of the
 *	contents of one point, stamped with its head; and, pinned, the dirty
 *	marks, the pending map, which commit was sent last, and the name of all
 *	this (life).  A reboot loses the pins: another life begins, in which
 *	everything is pending.
 *	lives as long as a session: all the rest.  A new session starts with
 *	everything pending to do, and knows only what it has asked.
 * Replica
 *	durable: a chain of points (head, image, and what tells one commit from
 *	another: author), the epoch, and a prefix of the open point: units
 *	staged over the newest point, with the life that staged them.
 *	in memory: which session may write; units not yet on disk.  A replica
 *	process that dies leaves them in the page cache, a host takes them along.
 * Wire
 *	in order, loses whatever was under way when it breaks; frames of an old
 *	connection may wait at the replica, acknowledgements of one may wait at
 *	the source; a commit frame may arrive once more (sent again on another
 *	path).
 *
 * A head stands for the hash of a point, its predecessor and its origin: each
 * commit has one that never was before.
 *
 * Faults, FAULTS of them in all, each at any moment: the source dies, or its
 * host; the connection or the replica's process dies; the replica's host
 * dies; the replica's store is put back by one point; it is put forward again
 * to the copy it was taken from; another writer with the source's name commits
 * a point, or stages units and goes; the replica is promoted; a commit frame
 * is doubled.
 *
 * What must hold
 *   Every point that is committed is the image its cut took.
 *   After a promotion nothing of the old epoch is committed.
 *   When the source and the replica agree on the newest point, whatever is
 *   neither pending nor dirty is in that point (safe): nothing can be lost.
 *   A source is refused only if somebody else has meddled with the store: by
 *   themselves, deaths and broken connections lose no acknowledged point.
 *   Nobody waits for ever (no invalid end state).
 *
 * A_...: the same model with one rule left out; the search must object.
 * R_...: with a precaution left out that the rest makes redundant; it must hold.
 */
#ifndef WRITES
#define WRITES	2
#endif
#ifndef POINTS
#define POINTS	3
#endif
#ifndef FAULTS
#define FAULTS	2
#endif

#define ALL		3	/* both blocks */
#define COMMIT		2	/* frame kinds: a unit of block 0 or 1; commit */
#define FOREIGN		255
#define BIT(n)		(1 << (n))
#define put(w, b, v)	w = (w & ~BIT(b)) | ((v) << (b))
#define get(w, b)	(((w) >> (b)) & 1)

/* The device and its marks; pending; the source's files. */
byte dev, dirty, pending = ALL;
byte life = 1;
byte commit_sent;		/* the session it went out in */
byte acked, acked_head;
byte sessions;
byte table, table_head;
bit table_ok;

/* What the source holds for one session. */
byte session;			/* 0: none */
byte todo;			/* to be shipped, or found unchanged */
byte snap;			/* the device at the last flip */
byte known;			/* what the replica holds, open point on top */
byte release;			/* what the awaited ack takes out of pending */
byte sent_snap;
bit outstanding, refused;
bit staged;			/* the open point may hold something */

/* The replica's disk. */
byte newest, head[POINTS + 1], image[POINTS + 1], author[POINTS + 1];
byte heads;
byte shelved;			/* newest point of the copy put away */
byte disk_mask, disk_units;	/* what is durable of the open point */
byte open_by;			/* the life that staged there */
byte soft;			/* blocks of the newest point not really durable */
bit promoted;
/* The replica's memory. */
byte current;			/* the one session that may write, 0: none */
byte writer;			/* the life it said it is of */
byte open_mask, open_units;
byte stray;			/* units in a segment the commit does not sync */

byte left = WRITES, faults;
bit meddled;			/* somebody else laid hands on the store */

#define FAULT_LEFT	(faults < FAULTS)

/* session, kind, value or seq, predecessor's head, what the cut took */
chan wire = [3] of { byte, byte, byte, byte, byte };
/* session, seq, head */
chan acks = [POINTS + FAULTS] of { byte, byte, byte };

#define AGREED		(newest == acked && head[newest] == acked_head)
#define safe() \
	assert(!AGREED || \
	       ((image[newest] ^ dev) & ~(pending | dirty) & ALL) == 0)

inline flush_wire()
{
	do
	:: nempty(wire) -> wire?_,_,_,_,_
	:: empty(wire) -> break
	od;
	skip
}

/* Acknowledgements under way are lost with the connection, or linger. */
inline lose_acks()
{
	if
	:: skip
	:: nempty(acks) ->
		do
		:: nempty(acks) -> acks?_,_,_
		:: empty(acks) -> break
		od
	fi
}

#ifdef A_KNOWN_SURVIVES
bit knows;
#define forget_known()	skip
#else
#define forget_known()	known = 0
#endif

#define end_session() \
	session = 0; todo = 0; release = 0; outstanding = 0; staged = 0; \
	snap = 0; sent_snap = 0; forget_known()

#ifdef A_ACK_CLEARS_RECOLLECTED
#define collected_again()	skip
#else
#define collected_again()	release = release & ~dirty
#endif

#define flip() \
	pending = pending | dirty; \
	todo = todo | dirty; \
	collected_again(); \
	dirty = 0; \
	snap = dev

#define drop_open() \
	open_mask = 0; open_units = 0; disk_mask = 0; disk_units = 0; \
	open_by = 0; stray = 0

/*
 * What the replica's state means to the source when a session opens.
 *   in step	the newest point is the acknowledged one
 *   unacked	one point more, on top of the acknowledged one, and it is the
 *		commit this source sent last: its acknowledgement was lost.
 *		With everything pending, whose point it is does not matter.
 * Anything else is refused; the way out is a resync.
 */
#ifdef A_HEAD_UNCHECKED
#define IN_STEP		(newest == acked)
#else
#ifdef A_BEHIND_ACCEPTED
#define IN_STEP		(AGREED || newest < acked)
#else
#ifdef A_AHEAD_IGNORED
#define IN_STEP		(AGREED || (newest == acked + 1 && \
				    head[acked] == acked_head))
#else
#define IN_STEP		AGREED
#endif
#endif
#endif
#ifdef A_FOREIGN_ADOPTED
#define OWN		true
#else
#define OWN		(author[newest] == commit_sent || pending == ALL)
#endif
#define UNACKED		(newest == acked + 1 && head[acked] == acked_head && OWN)
#ifdef A_FOREIGN_OPEN_RESUMED
#define RESUMABLE	true
#else
#define RESUMABLE	(open_by == life || pending == ALL)
#endif

#ifdef A_ACK_UNBOUND
#define ACK_FITS	outstanding
#else
#ifdef A_ACK_SESSION_UNCHECKED
#define ACK_FITS	(outstanding && q == acked + 1)
#else
#ifdef R_ACK_SEQ_UNCHECKED
#define ACK_FITS	(outstanding && s == session)
#else
#define ACK_FITS	(outstanding && s == session && q == acked + 1)
#endif
#endif
#endif

/* Ship one block, or leave it out because the replica is known to hold it. */
#define leave_out(b) \
	(todo & BIT(b)) && get(known, b) == get(snap, b) -> \
		todo = todo & ~BIT(b)
#ifdef A_TABLE_EARLY
#define table_early(b) \
	put(table, b, get(snap, b)); table_head = acked_head; table_ok = 1
#else
#define table_early(b)	skip
#endif
#define stage(b) \
	(todo & BIT(b)) && get(known, b) != get(snap, b) && nfull(wire) -> \
		todo = todo & ~BIT(b); \
		put(known, b, get(snap, b)); \
		table_early(b); \
		staged = 1; \
		wire!session,b,get(snap, b),0,0

active proctype source()
{
	byte s, q, h;

again:
	do
	/*
	 * Open: the replica makes this the only session that may write, and
	 * only then says what it holds.
	 */
	:: atomic { session == 0 && !refused ->
#ifndef A_NO_EPOCH_AT_OPEN
		if
		:: promoted -> refused = 1; goto again
		:: else
		fi;
#endif
		d_step {
			sessions++;
			session = sessions;
#if !defined(A_NO_FENCE) && !defined(A_STATE_BEFORE_FENCE)
			flush_wire();
#endif
#ifndef A_STATE_BEFORE_FENCE
			current = session;
			writer = life
#endif
		}
		if
		:: IN_STEP
#ifdef A_BEHIND_ACCEPTED
			acked = newest; acked_head = head[newest]
#endif
		:: !IN_STEP && UNACKED ->
			/* The base, and no more: nothing leaves pending. */
			acked = newest;
			acked_head = head[newest]
#ifdef A_ADOPT_CLEARS
			; pending = 0
#endif
		:: !IN_STEP && !UNACKED -> goto resync
		fi;
opened:
		if
		:: open_mask != 0 && !RESUMABLE -> drop_open()
		:: else
		fi;
#ifdef A_KNOWN_SURVIVES
		if
		:: knows
		:: else -> known = (image[newest] & ~open_mask) | open_units;
			knows = 1
		fi;
#else
		if
#ifdef A_TABLE_UNSTAMPED
		:: table_ok -> known = table
#else
		:: table_ok && table_head == acked_head ->
			known = table
#endif
		:: known = image[newest]
		fi;
		known = (known & ~open_mask) | open_units;
#endif
#ifndef A_FORGET_PENDING
		todo = pending;
#endif
		flip();
#ifndef A_CONFIRM_OVER_LEFTOVERS
		staged = (open_mask != 0);
#endif
		safe();
#ifdef A_STATE_BEFORE_FENCE
		goto fence_late
#endif
	   }
	:: d_step { session != 0 && dirty != 0 -> flip() }
	:: d_step { leave_out(0) }
	:: d_step { leave_out(1) }
	:: d_step { stage(0) }
	:: d_step { stage(1) }
	:: d_step { session != 0 && todo == 0 && !outstanding &&
		    acked < POINTS && nfull(wire) ->
			outstanding = 1;
			staged = 0;
			commit_sent = session;
			release = pending;
			sent_snap = snap;
			wire!session,COMMIT,acked + 1,acked_head,snap
	   }
	/* Nothing differs: the newest point is confirmed, none is made. */
	:: d_step { session != 0 && todo == 0 && !outstanding && !staged &&
		    pending != 0 ->
			pending = 0;
#ifndef A_CONFIRM_KEEPS_COMMIT
			commit_sent = 0;
#endif
			safe()
	   }
	:: atomic { acks?s,q,h ->
		if
		:: ACK_FITS -> goto durable
		:: else -> s = 0; q = 0; h = 0
		fi
	   }
	:: atomic { session != 0 && current != session ->
			end_session();
			lose_acks()
	   }
	:: FAULT_LEFT && session != 0 -> goto die
	:: acked == POINTS && !outstanding -> break
	:: refused -> break
	od;
	goto done;

#ifdef A_STATE_BEFORE_FENCE
fence_late:
	skip;
	d_step {
		current = (promoted -> 0 : session);
		writer = life;
		flush_wire()
	}
	goto again;
#endif

durable:	/* The acknowledgement is written down before pending lets go. */
#ifdef A_CLEAR_BEFORE_PERSIST
	pending = pending & ~release;
#endif
	if
	:: d_step { acked = q; acked_head = h; s = 0; q = 0; h = 0 }
	:: FAULT_LEFT -> goto die
	fi;
	if
	:: d_step {
		pending = pending & ~release;
		release = 0;
		outstanding = 0;
		commit_sent = 0;
		safe()
	   }
	:: FAULT_LEFT -> goto die
	fi;
	if
	:: d_step {
		table = sent_snap;
		table_head = acked_head;
		table_ok = 1
	   }
	:: FAULT_LEFT -> goto die
	fi;
	goto again;

resync:	/* All is pending before another point is taken for the base. */
#ifdef A_RESYNC_PERSIST_FIRST
	acked = newest;
	acked_head = head[newest];
#endif
	assert(meddled);
#ifdef A_STATE_BEFORE_FENCE
	current = session;
	writer = life;
#endif
	if
	:: d_step { pending = ALL; table_ok = 0; table = 0; table_head = 0 }
	:: FAULT_LEFT -> goto die
	fi;
	if
	:: atomic { current == session ->
			acked = newest;
			acked_head = head[newest];
			goto opened
	   }
	:: d_step { current != session -> end_session() }
	:: FAULT_LEFT -> goto die
	fi;
	goto again;

die:	/* The process alone, or its host and with it the pinned maps. */
	faults++;
	d_step {
		end_session();
#ifdef A_KNOWN_SURVIVES
		knows = 0; known = 0;
#endif
		s = 0; q = 0; h = 0
	}
	if
	:: skip
	:: pending = ALL; dirty = 0; commit_sent = 0; life++
	fi;
	lose_acks();
	goto again;

done:	skip
}

inline new_point(who, its_head)
{
	newest++;
	head[newest] = its_head;
	image[newest] = (image[newest - 1] & ~open_mask) | open_units;
	author[newest] = who;
	soft = stray & open_mask;
	shelved = 0;
	i = newest + 1;
	do
	:: i <= POINTS -> head[i] = 0; image[i] = 0; author[i] = 0; i++
	:: i > POINTS -> break
	od;
	i = 0;
	drop_open()
}

#ifdef A_NO_FENCE
#define MAY_WRITE(s)	(current != 0)
#else
#define MAY_WRITE(s)	(s == current)
#endif
#ifdef A_NO_SEQ
#define REPEATED	false
#define NEXT		(newest < POINTS)
#else
#if defined(A_HEAD_UNCHECKED) || defined(R_PREDECESSOR_UNCHECKED)
#define REPEATED	(a <= newest)
#define NEXT		(a == newest + 1)
#else
#define REPEATED	(a <= newest)
#define NEXT		(a == newest + 1 && p == head[newest])
#endif
#endif
#ifdef A_ACK_BEFORE_DURABLE
byte late_by, late_head;
#define forget_late()	late_by = 0; late_head = 0
#else
#define forget_late()	skip
#endif

/* No session may write; what the wire still held is lost. */
#define cut_off()	current = 0; writer = 0; forget_late(); flush_wire()

active proctype replica()
{
	byte s, k, a, p, c, i;

end:
	do
	:: atomic {
#ifdef A_ACK_BEFORE_DURABLE
		late_by == 0 && nempty(wire) ->
#endif
		wire?s,k,a,p,c ->
		if
		:: !MAY_WRITE(s)
		:: MAY_WRITE(s) && k != COMMIT ->
			open_mask = open_mask | BIT(k);
			put(open_units, k, a);
			stray = stray & ~BIT(k);
			open_by = writer
		:: MAY_WRITE(s) && k == COMMIT && REPEATED
		:: MAY_WRITE(s) && k == COMMIT && !REPEATED && NEXT ->
#ifdef A_ACK_BEFORE_DURABLE
			heads++;
			late_by = s;
			late_head = heads;
			acks!s,newest + 1,heads
#else
			heads++;
			new_point(s, heads);
			assert(image[newest] == c);
			assert(!promoted);
			acks!s,newest,head[newest];
			if
			:: FAULT_LEFT && nfull(wire) ->
				faults++;
				wire!s,k,a,p,c
			:: skip
			fi
#endif
		/* The fence leaves no session that could get here. */
		:: MAY_WRITE(s) && k == COMMIT && !REPEATED && !NEXT ->
			d_step { cut_off() }
		fi;
		s = 0; k = 0; a = 0; p = 0; c = 0
	   }
#ifdef A_ACK_BEFORE_DURABLE
	:: d_step { late_by != 0 && newest < POINTS ->
			new_point(late_by, late_head);
			forget_late()
	   }
#endif
	/* Write-back, at any time. */
	:: d_step { disk_mask != open_mask || disk_units != open_units ||
		    stray != 0 || soft != 0 ->
			disk_mask = open_mask;
			disk_units = open_units;
			stray = 0;
			soft = 0
	   }

	/* The application. */
	:: d_step { left > 0 -> left--; dev = dev ^ 1; dirty = dirty | 1 }
	:: d_step { left > 0 -> left--; dev = dev ^ 2; dirty = dirty | 2 }

	/* The replica's process or the connection dies; what it had staged is
	 * in the page cache, and is synced before anybody is told of it. */
	:: d_step { FAULT_LEFT && current != 0 ->
			faults++;
			cut_off();
#ifdef A_NO_SYNC_AT_START
			stray = stray | (open_mask & (~disk_mask |
				(disk_units ^ open_units)))
#else
			disk_mask = open_mask;
			disk_units = open_units
#endif
	   }
	/* The replica's host dies. */
	:: d_step { FAULT_LEFT && current != 0 ->
			faults++;
			cut_off();
			open_mask = disk_mask;
			open_units = disk_units;
			open_by = (open_mask == 0 -> 0 : open_by);
			image[newest] = image[newest] ^ soft;
			soft = 0;
			stray = 0
	   }
	/* Its store is put back to an older copy, and forward again. */
	:: d_step { FAULT_LEFT && newest > 0 ->
			faults++;
			cut_off();
			drop_open();
			meddled = 1;
			shelved = (shelved == 0 -> newest : shelved);
			newest--
	   }
	:: d_step { FAULT_LEFT && shelved > newest ->
			faults++;
			cut_off();
			drop_open();
			meddled = 1;
			newest = shelved;
			shelved = 0
	   }
	:: d_step { FAULT_LEFT && !promoted ->
			faults++;
			promoted = 1;
#ifndef A_PROMOTE_NO_FENCE
			cut_off();
#endif
			drop_open()
	   }
	/* Another writer under the same name: commits, or stages and goes. */
	:: d_step { FAULT_LEFT && !promoted && newest < POINTS ->
			faults++;
			cut_off();
			drop_open();
			meddled = 1;
			heads++;
			new_point(FOREIGN, heads);
			image[newest] = image[newest] ^ ALL
	   }
	:: d_step { FAULT_LEFT && !promoted ->
			faults++;
			cut_off();
			drop_open();
			open_mask = ALL;
			open_units = image[newest] ^ ALL;
			disk_mask = open_mask;
			disk_units = open_units;
			open_by = FOREIGN
	   }
	od
}
