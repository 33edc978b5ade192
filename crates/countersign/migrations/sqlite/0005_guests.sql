-- Confidential guests vouch for agents too: of those, no endorsement key and no attestation key is known, and both are empty.
ALTER TABLE machines ADD COLUMN technology TEXT NOT NULL DEFAULT 'tpm2';
