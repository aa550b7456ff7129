BEGIN TRANSACTION;
CREATE TABLE alarm (
	id INTEGER NOT NULL, 
	cause VARCHAR NOT NULL, 
	severity VARCHAR NOT NULL, 
	title VARCHAR NOT NULL, 
	advice VARCHAR DEFAULT '' NOT NULL, 
	opened DATETIME NOT NULL, 
	last DATETIME NOT NULL, 
	closed DATETIME, 
	count INTEGER DEFAULT '1' NOT NULL, 
	CONSTRAINT pk_alarm PRIMARY KEY (id)
);
INSERT INTO "alarm" VALUES(1,'store-down','critical','The database can''t be written','','2026-03-29 12:00:00.000000','2026-03-29 12:00:00.000000',NULL,1);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE attempt (
	attempt VARCHAR NOT NULL, 
	call VARCHAR NOT NULL, 
	number INTEGER NOT NULL, 
	box VARCHAR DEFAULT '' NOT NULL, 
	channel INTEGER NOT NULL, 
	iccid VARCHAR DEFAULT '' NOT NULL, 
	started DATETIME NOT NULL, 
	ended DATETIME, 
	cause INTEGER DEFAULT '0' NOT NULL, 
	cause_text VARCHAR DEFAULT '' NOT NULL, 
	outcome VARCHAR DEFAULT '' NOT NULL, 
	talk_ms INTEGER DEFAULT '0' NOT NULL, 
	at_log TEXT, 
	media TEXT, 
	part BOOLEAN DEFAULT false NOT NULL, 
	CONSTRAINT pk_attempt PRIMARY KEY (attempt)
);
INSERT INTO "attempt" VALUES('a1','c1',1,'lab-01',3,'890010000000000001','2026-03-29 12:00:00.000000','2026-03-29 12:00:34.000000',16,'normal call clearing','answered',29950,'[]','{"codec":"PCMA","to_network":{"packets":1500,"octets":0,"lost":0,"late":0,"concealed":0,"jitter_ms":0.0,"level_dbfs":null,"levels":[]},"from_network":{"packets":0,"octets":0,"lost":0,"late":0,"concealed":0,"jitter_ms":0.0,"level_dbfs":null,"levels":[]},"drift_ppm":0.0,"mos":4.1}',1);
CREATE TABLE box_event_seen (
	box VARCHAR NOT NULL, 
	boot VARCHAR NOT NULL, 
	seq BIGINT NOT NULL, 
	kind VARCHAR NOT NULL, 
	at DATETIME NOT NULL, 
	received DATETIME NOT NULL, 
	call VARCHAR, 
	attempt VARCHAR, 
	body TEXT, 
	CONSTRAINT pk_box_event_seen PRIMARY KEY (box, boot, seq)
);
INSERT INTO "box_event_seen" VALUES('lab-01','b1',1,'call-part','2026-03-29 12:00:00.000000','2026-03-29 12:00:00.000000','c1','a1',NULL);
CREATE TABLE call_story (
	call VARCHAR NOT NULL, 
	explanation TEXT, 
	ladder TEXT NOT NULL, 
	CONSTRAINT pk_call_story PRIMARY KEY (call)
);
INSERT INTO "call_story" VALUES('c1','{"config_version":7,"sender":"trunk","called_received":"030222","called":"+4930222"}','[{"ms":0,"source":"sender","target":"controller","label":"INVITE","attempt":0}]');
CREATE TABLE cdr (
	id INTEGER NOT NULL, 
	call VARCHAR NOT NULL, 
	direction VARCHAR NOT NULL, 
	sender VARCHAR DEFAULT '' NOT NULL, 
	sip_call_id VARCHAR DEFAULT '' NOT NULL, 
	from_tag VARCHAR DEFAULT '' NOT NULL, 
	calling_received VARCHAR DEFAULT '' NOT NULL, 
	calling VARCHAR DEFAULT '' NOT NULL, 
	called_received VARCHAR DEFAULT '' NOT NULL, 
	called VARCHAR DEFAULT '' NOT NULL, 
	dialled VARCHAR DEFAULT '' NOT NULL, 
	started DATETIME NOT NULL, 
	alerting DATETIME, 
	answered DATETIME, 
	ended DATETIME NOT NULL, 
	setup_ms INTEGER DEFAULT '0' NOT NULL, 
	ring_ms INTEGER DEFAULT '0' NOT NULL, 
	talk_network_ms INTEGER DEFAULT '0' NOT NULL, 
	talk_sender_ms INTEGER DEFAULT '0' NOT NULL, 
	outcome VARCHAR NOT NULL, 
	cause INTEGER DEFAULT '0' NOT NULL, 
	cause_original VARCHAR DEFAULT '' NOT NULL, 
	side VARCHAR NOT NULL, 
	sip_status INTEGER DEFAULT '0' NOT NULL, 
	refusal VARCHAR DEFAULT '' NOT NULL, 
	box VARCHAR DEFAULT '' NOT NULL, 
	channel INTEGER, 
	iccid VARCHAR DEFAULT '' NOT NULL, 
	imsi VARCHAR DEFAULT '' NOT NULL, 
	"plan" VARCHAR DEFAULT '' NOT NULL, 
	pattern VARCHAR DEFAULT '' NOT NULL, 
	ingress VARCHAR DEFAULT '' NOT NULL, 
	egress VARCHAR DEFAULT '' NOT NULL, 
	codec VARCHAR DEFAULT '' NOT NULL, 
	mos FLOAT, 
	attempts INTEGER DEFAULT '0' NOT NULL, 
	estimated BOOLEAN DEFAULT false NOT NULL, 
	marks JSON NOT NULL, 
	config_version INTEGER, 
	CONSTRAINT pk_cdr PRIMARY KEY (id), 
	CONSTRAINT uq_cdr_call UNIQUE (call)
);
INSERT INTO "cdr" VALUES(1,'c1','out','trunk','c1@host','tag','030111','+4930111','030222','+4930222','+4930222','2026-03-29 12:00:00.000000','2026-03-29 12:00:02.000000','2026-03-29 12:00:04.000000','2026-03-29 12:00:34.000000',2000,1900,29950,30000,'answered',16,'normal call clearing','called',200,'','lab-01',3,'890010000000000001','001010000000001','lab','+49','127.0.0.2:5060','127.0.0.1:7000','PCMA',4.1,1,0,'["test"]',7);
CREATE TABLE config_active (
	id INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	activated DATETIME NOT NULL, 
	CONSTRAINT pk_config_active PRIMARY KEY (id), 
	CONSTRAINT fk_config_active_version FOREIGN KEY(version) REFERENCES config_version (version)
);
CREATE TABLE config_agreement (
	version INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_config_agreement PRIMARY KEY (version, position), 
	CONSTRAINT fk_config_agreement_version FOREIGN KEY(version) REFERENCES config_version (version)
);
CREATE TABLE config_installation (
	version INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_config_installation PRIMARY KEY (version, position), 
	CONSTRAINT fk_config_installation_version FOREIGN KEY(version) REFERENCES config_version (version)
);
CREATE TABLE config_limit (
	version INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_config_limit PRIMARY KEY (version, position), 
	CONSTRAINT fk_config_limit_version FOREIGN KEY(version) REFERENCES config_version (version)
);
CREATE TABLE config_pattern (
	version INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	prefix VARCHAR NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_config_pattern PRIMARY KEY (version, position), 
	CONSTRAINT fk_config_pattern_version FOREIGN KEY(version) REFERENCES config_version (version)
);
CREATE TABLE config_plan (
	version INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_config_plan PRIMARY KEY (version, position), 
	CONSTRAINT fk_config_plan_version FOREIGN KEY(version) REFERENCES config_version (version)
);
CREATE TABLE config_sender (
	version INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_config_sender PRIMARY KEY (version, position), 
	CONSTRAINT fk_config_sender_version FOREIGN KEY(version) REFERENCES config_version (version)
);
CREATE TABLE config_sim (
	version INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	"plan" VARCHAR NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_config_sim PRIMARY KEY (version, position), 
	CONSTRAINT fk_config_sim_version FOREIGN KEY(version) REFERENCES config_version (version)
);
CREATE TABLE config_site (
	version INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_config_site PRIMARY KEY (version, position), 
	CONSTRAINT fk_config_site_version FOREIGN KEY(version) REFERENCES config_version (version)
);
CREATE TABLE config_version (
	version INTEGER NOT NULL, 
	digest VARCHAR NOT NULL, 
	source VARCHAR NOT NULL, 
	actor VARCHAR NOT NULL, 
	created DATETIME NOT NULL, 
	activated DATETIME, 
	CONSTRAINT pk_config_version PRIMARY KEY (version)
);
CREATE TABLE open_call (
	call VARCHAR NOT NULL, 
	run VARCHAR NOT NULL, 
	direction VARCHAR NOT NULL, 
	sender VARCHAR DEFAULT '' NOT NULL, 
	calling_received VARCHAR DEFAULT '' NOT NULL, 
	calling VARCHAR DEFAULT '' NOT NULL, 
	called_received VARCHAR DEFAULT '' NOT NULL, 
	called VARCHAR DEFAULT '' NOT NULL, 
	ingress VARCHAR DEFAULT '' NOT NULL, 
	sip_call_id VARCHAR DEFAULT '' NOT NULL, 
	from_tag VARCHAR DEFAULT '' NOT NULL, 
	started DATETIME NOT NULL, 
	answered DATETIME, 
	attempt VARCHAR DEFAULT '' NOT NULL, 
	box VARCHAR DEFAULT '' NOT NULL, 
	channel INTEGER, 
	iccid VARCHAR DEFAULT '' NOT NULL, 
	"plan" VARCHAR DEFAULT '' NOT NULL, 
	pattern VARCHAR DEFAULT '' NOT NULL, 
	sender_dialog JSON, 
	box_dialog JSON, 
	CONSTRAINT pk_open_call PRIMARY KEY (call), 
	CONSTRAINT uq_open_call_sender UNIQUE (sender, sip_call_id, from_tag)
);
CREATE TABLE setup_link (
	token_hash VARCHAR NOT NULL, 
	created DATETIME NOT NULL, 
	expires DATETIME, 
	used DATETIME, 
	CONSTRAINT pk_setup_link PRIMARY KEY (token_hash)
);
CREATE TABLE web_session (
	token_hash VARCHAR NOT NULL, 
	user_id INTEGER NOT NULL, 
	created DATETIME NOT NULL, 
	last_seen DATETIME NOT NULL, 
	expires DATETIME NOT NULL, 
	csrf VARCHAR DEFAULT '' NOT NULL, 
	address VARCHAR DEFAULT '' NOT NULL, 
	agent VARCHAR DEFAULT '' NOT NULL, 
	CONSTRAINT pk_web_session PRIMARY KEY (token_hash), 
	CONSTRAINT fk_web_session_user_id FOREIGN KEY(user_id) REFERENCES web_user (id) ON DELETE CASCADE
);
CREATE TABLE web_user (
	id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	password_hash VARCHAR NOT NULL, 
	role VARCHAR DEFAULT 'administrator' NOT NULL, 
	created DATETIME NOT NULL, 
	last_login DATETIME, 
	disabled BOOLEAN DEFAULT false NOT NULL, 
	settings JSON, 
	CONSTRAINT pk_web_user PRIMARY KEY (id), 
	CONSTRAINT uq_web_user_name UNIQUE (name)
);
CREATE UNIQUE INDEX uq_alarm_open_cause ON alarm (cause) WHERE closed IS NULL;
CREATE INDEX ix_attempt_call ON attempt (call);
CREATE INDEX ix_box_event_seen_attempt ON box_event_seen (attempt);
CREATE INDEX ix_cdr_box_started ON cdr (box, started);
CREATE INDEX ix_cdr_figures ON cdr (started, direction, outcome, talk_network_ms, setup_ms);
CREATE INDEX ix_cdr_sender_started ON cdr (sender, started);
CREATE INDEX ix_config_agreement_name ON config_agreement (version, name);
CREATE INDEX ix_config_installation_name ON config_installation (version, name);
CREATE INDEX ix_config_limit_name ON config_limit (version, name);
CREATE INDEX ix_config_pattern_name ON config_pattern (version, name);
CREATE INDEX ix_config_plan_name ON config_plan (version, name);
CREATE INDEX ix_config_sender_name ON config_sender (version, name);
CREATE INDEX ix_config_sim_name ON config_sim (version, name);
CREATE INDEX ix_config_site_name ON config_site (version, name);
CREATE INDEX ix_web_session_user_id ON web_session (user_id);
COMMIT;
