-- SPDX-License-Identifier: Apache-2.0
-- The gallery's tables. Every rule is in here as well as in recognition/consent.py, and the triggers hold even for a
-- program that opens the file without foreign keys: no reference without a consent, no consent without a reference
-- (checked at COMMIT), at most 8 references a subject, 500 subjects, and three years (1096 days) of consent.
CREATE TABLE gallery (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    kind TEXT NOT NULL CHECK (kind IN ('live', 'simulated')),
    embedder TEXT NOT NULL,
    dimension INTEGER NOT NULL CHECK (dimension > 0),
    root_key BLOB NOT NULL, -- sealed under the device key
    basis BLOB NOT NULL, -- sealed under the root key
    ledger_seq INTEGER NOT NULL DEFAULT 0, -- how far the consent ledger had come
    ledger_sha256 TEXT NOT NULL DEFAULT '',
    rotation_unwritten INTEGER NOT NULL DEFAULT 0 CHECK (rotation_unwritten IN (0, 1)) -- keys renewed, ledger not told
) STRICT;

CREATE TABLE consent (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    subject_id TEXT NOT NULL UNIQUE,
    ref TEXT NOT NULL UNIQUE CHECK (ref GLOB 'p_*'),
    label TEXT NOT NULL UNIQUE CHECK (length(label) BETWEEN 1 AND 64),
    purpose TEXT NOT NULL CHECK (length(purpose) > 0),
    policy_sha256 TEXT NOT NULL CHECK (length(policy_sha256) = 64),
    given_at_ns INTEGER NOT NULL,
    expires_at_ns INTEGER NOT NULL CHECK (expires_at_ns - given_at_ns BETWEEN 1 AND 94694400000000000),
    recorded_by TEXT NOT NULL CHECK (length(recorded_by) > 0),
    first_reference INTEGER NOT NULL DEFAULT 0 CHECK (first_reference = 0),
    FOREIGN KEY (number, first_reference) REFERENCES reference (consent, position) DEFERRABLE INITIALLY DEFERRED
) STRICT;

CREATE TABLE reference (
    consent INTEGER NOT NULL REFERENCES consent (number) ON DELETE CASCADE,
    position INTEGER NOT NULL CHECK (position BETWEEN 0 AND 7),
    embedder_sha256 TEXT NOT NULL,
    sealed BLOB NOT NULL CHECK (length(sealed) > 40), -- an embedding in the secret basis, under the subject's key
    PRIMARY KEY (consent, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE subject_key (
    consent INTEGER PRIMARY KEY REFERENCES consent (number) ON DELETE CASCADE,
    sealed BLOB NOT NULL -- under the root key
) STRICT;

CREATE TRIGGER no_consent_no_template BEFORE INSERT ON reference
    WHEN NOT EXISTS (SELECT 1 FROM consent WHERE number = NEW.consent)
    BEGIN SELECT RAISE(ABORT, 'no consent, no template'); END;
CREATE TRIGGER a_reference_stays_under_its_consent BEFORE UPDATE OF consent, position ON reference
    BEGIN SELECT RAISE(ABORT, 'a reference stays under its consent'); END;
CREATE TRIGGER a_consent_keeps_its_number BEFORE UPDATE OF number ON consent
    BEGIN SELECT RAISE(ABORT, 'a consent keeps its number'); END;
CREATE TRIGGER references_go_with_their_consent AFTER DELETE ON consent
    BEGIN DELETE FROM subject_key WHERE consent = OLD.number; DELETE FROM reference WHERE consent = OLD.number; END;
CREATE TRIGGER small_by_design BEFORE INSERT ON consent
    WHEN (SELECT count(*) FROM consent) >= 500
    BEGIN SELECT RAISE(ABORT, 'at most 500 subjects'); END;
CREATE TRIGGER nobody_is_replaced BEFORE INSERT ON consent
    WHEN EXISTS (SELECT 1 FROM consent
                 WHERE number = NEW.number OR subject_id = NEW.subject_id OR ref = NEW.ref OR label = NEW.label)
    BEGIN SELECT RAISE(ABORT, 'already enrolled'); END;
CREATE TRIGGER nobody_is_pushed_out BEFORE UPDATE OF subject_id, ref, label ON consent
    WHEN EXISTS (SELECT 1 FROM consent WHERE number <> OLD.number
                 AND (subject_id = NEW.subject_id OR ref = NEW.ref OR label = NEW.label))
    BEGIN SELECT RAISE(ABORT, 'already enrolled'); END;
CREATE TRIGGER a_gallery_keeps_its_kind BEFORE UPDATE OF kind, embedder, dimension ON gallery
    BEGIN SELECT RAISE(ABORT, 'a gallery keeps its kind'); END;
