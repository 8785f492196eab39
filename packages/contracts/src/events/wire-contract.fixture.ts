// The table of the wire contract, as it is written there: event, code, blocks, own fields. It is the law; the
// schemas are held against it.

const blocks: Readonly<Record<string, string>> = {
  M: 'event code ei uid time cluster_name',
  U: 'user login user_kind user_roles user_traits',
  S: 'sid with_mfa',
  Srv: 'namespace server_id server_hostname server_addr server_labels server_version',
  C: 'addr.local addr.remote proto',
  St: 'success error message',
  B: 'pid cgroup_id program audit_session_id seq ktime source process_uid process_gid',
  Cmd: 'command exitCode exitError',
};

/** event | codes | blocks | own fields */
const table = `
session.start | T2000I | M U S Srv C | size initial_command session_recording
session.join | T2001I | M U S Srv C | mode owner
session.leave | T2003I | M U S Srv C | mode owner reason
session.input | T2021I | M U S Srv C | mode bytes
session.presence | T2022I | M U S Srv C | mode owner state
session.pause | T2023W | M U S Srv C | missing cause
session.resume | T2024I | M U S Srv C | stood_ms
resize | T2002I | M U S Srv C | size
session.end | T2004I | M U S Srv C | enhanced_recording interactive participants session_start session_stop initial_command session_recording enhanced_totals interrupted interrupted_reason
session.upload | T2005I | M S | url
session.data | T2006I | M U S Srv C | tx rx
session.recording.access | T2012I | M U | sid
session.recording_failed | T2020E | M U S Srv C | recording error consequence
session.rejected | T1006W | M U Srv C | reason maximum sid
session.command | T4000I | M U S Srv B | ppid path argv return_code exe cwd interpreter argv_state flags environment
session.command.exit | T4010I | M U S Srv B | exit_status signal duration_ms cpu_ms
session.disk | T4001I | M U S Srv B | path flags return_code path_source inode device nlink
session.network | T4002I | M U S Srv B | src_addr dst_addr dst_port version operation action src_port protocol outcome unix_path
session.network.close | T4011I | M U S Srv B | bytes_sent bytes_received duration_ms
session.network.outcome | T4012I | M U S Srv B | outcome duration_ms
session.events_lost | T4020W | M U S Srv | kind count first_time last_time cause
session.attribution | T4021W | M U S Srv B | reason old_value new_value
user.login | T1000I T1000W | M U St C | method user_agent mfa_device
user.login | T1001I T1001W | M U St C | method user_agent mfa_device connector attributes
auth | T3007W | M U C St |
api.refused | TAP00W | M U C St | call request_id
exec | T3002I T3002E | M U C S Srv Cmd |
subsystem | T3001I T3001E | M U C Srv | name exitError
port | T3003I T3003S T3003E | M U C St | addr
scp | T3004I T3004E T3005I T3005E T3010E | M U C S Srv Cmd | path action
sftp | TS002I TS002E | M U C S Srv | action path bytes_read bytes_written error
sftp | TS001I TS001E TS007I TS007E TS009I TS009E TS010I TS010E TS011I TS011E TS012I TS012E TS013I TS013E TS016I TS016E TS018I TS018E TS019I TS019E | M U C S Srv | action path target_path working_directory flags attributes error
sftp | TS020E | M U C S Srv | path error
client.disconnect | T3006I | M U C Srv | reason
x11-forward | T3008I T3008W | M U C St |
agent-forward | T3013I T3013W | M U C St |
user.create | T1002I | M U | name
user.update | T1003I | M U | name
user.delete | T1004I | M U | name
user.password_change | T1005I | M U |
mfa.add | T1006I | M U |
mfa.delete | T1007I | M U |
mfa_auth_challenge.validate | T1016I T1016W | M U C St | flow subject mfa_device user_agent
role.created | T9000I | M U | name
role.deleted | T9001I | M U | name
role.updated | T9002I | M U | name
oidc.created | T8100I | M U | name
oidc.deleted | T8101I | M U | name
oidc.updated | T8102I | M U | name
github.created | T8000I | M U | name
github.deleted | T8001I | M U | name
github.updated | T8002I | M U | name
join_token.create | TJT00I | M U |
instance.join | TJ002I TJ002E | M U |
lock.created | TLK00I | M U |
lock.deleted | TLK01I | M U |
cert.create | TC000I | M U | cert_type identity
host_user.created | THU00I THU00E | M U Srv | mode groups sudoers shell error
host_user.updated | THU02I | M U Srv | mode groups sudoers
host_user.deleted | THU01I THU01E | M U Srv | mode error
static_host_user.created | TSH00I | M U | name
static_host_user.updated | TSH01I | M U | name
static_host_user.deleted | TSH02I | M U | name
`;

const words = (text: string) => text.split(' ').filter(Boolean);

/** A row a code. */
export const contractRows = table
  .trim()
  .split('\n')
  .flatMap((row) => {
    const [event = '', codes = '', blockNames = '', own = ''] = row.split('|').map((cell) => cell.trim());
    const fields = [...words(blockNames).flatMap((name) => words(blocks[name] ?? '')), ...words(own)];
    return words(codes).map((code) => ({ event, code, fields }));
  });
