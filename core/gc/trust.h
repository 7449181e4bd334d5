/*
 * No verdict: hints are trusted. Which, and how many at a time; when, collector.c decides.
 */
#pragma once

/* Makes the oldest hints free unproved, until half of what starts a cycle is left. Lock CYCLE held, signals blocked. */
void trust_oldest_locked(void);
