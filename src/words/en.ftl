# Durations stand alone, after a label: "Longest timer: 7 days 12 hours". Some clients cut labels off after 60 characters.
days = { $count ->
    [one] { $count } day
   *[other] { $count } days
}
hours = { $count ->
    [one] { $count } hour
   *[other] { $count } hours
}
minutes = { $count ->
    [one] { $count } minute
   *[other] { $count } minutes
}
seconds = { $count ->
    [one] { $count } second
   *[other] { $count } seconds
}
no-time = none
no-limit = no limit
planned = { $limit } (announced, not in force yet)
wished = { $limit } (as you have set it)
paused = Erasing is paused at the moment. Whatever is due goes when it resumes.
dry-run = Nothing is erased at the moment: this is only a trial.

command-list = What is kept of messages
policy-name = How long messages are kept here
policy-intro = Messages that are to disappear are also erased from the archive of { $host }. These rules apply to you:
policy-timer-min = Shortest timer
policy-timer-max = Longest timer
policy-start = The timer of a message that you receive starts
start-archived = when the server archives the message
start-delivered = when you have received the message
start-read = when you have read the message
start-auto = when you have read the message; or when you have received it, if your apps do not tell the server what you read
policy-sent = The timer of a message that you send starts, in your own archive, when the server archives it.
policy-unread-for = Longest wait for you to read a message, before its timer starts
policy-once-for = Time that a message meant for reading once stays after that
policy-hint = Time that a message stays if its sender asked not to store it
policy-negotiation = Time that a message stays if it only agrees on a timer
policy-rooms-start = In rooms, timers start
rooms-archived = when the server archives the message
rooms-first-reader = when somebody other than its sender has read the message
rooms-everyone = when all members of the room have read the message
policy-archive-for = Longest time in your archive, whatever the sender asked for
policy-queue-for = Longest time while it waits for you to come online
policy-rooms-for = Longest time in rooms, unless a room has a rule of its own
policy-placeholder = Time that an empty entry stays, without the text
policy-cannot = The server cannot erase what is on the devices of those who received a message, nor what is in its backups, and it cannot see a timer inside an encrypted message.

kept-name = What is kept of me
kept-choose = Which of your messages do you want to know about?
kept-which = Messages
kept-archive = In your archive
kept-queue = Waiting for you to come online
kept-both = Both
kept-summary = { $count ->
    [0] No message is going to disappear.
    [one] { $count } message is going to disappear.
   *[other] { $count } messages are going to disappear.
}
kept-many = More than { $count ->
    [one] { $count } message is
   *[other] { $count } messages are
} recorded here: too many to look at all of them.
kept-going = Going to disappear
kept-timer = Because the sender set a timer
kept-hint = Because the sender asked not to store them
kept-negotiation = Because they only agree on a timer
kept-age = Because of their age
kept-oldest = The oldest is from
kept-next = The next goes, at the earliest
kept-wish = By whose wish
wish-timer = the sender set a timer
wish-hint = the sender asked not to store it
wish-negotiation = it only agrees on a timer
wish-age = the server keeps no message longer
wish-own = you want no message kept longer
kept-unread = Waiting for you to read them
kept-undelivered = Waiting for you to receive them
kept-backlog = Older messages, kept for now
kept-emptied = Empty entries, whose text is gone
kept-rest = Longest time for all other messages
kept-chats = Chats for which you have set something of their own
kept-note = The times are the earliest ones: a message may stay longer.

erase-name = Erase my messages
erase-choose = Which of your messages are to be erased here? If you leave both fields empty, all of them. Write a day as 2026-11-01.
erase-with = Only the chat with this address
erase-before = Only from before this day (UTC)
erase-all = All your messages here: those in your archive and those that wait for you to come online.
erase-count = Messages that this concerns
erase-many = { $count } or more
erase-forever = This cannot be undone. What is on your devices stays, your contacts keep their own copies, and messages that come later stay.
erase-type = To erase these messages, type your own address: { $address }
erase-confirm = Your address
erase-again = That was not your address. Nothing has been erased.
erase-soon = Your request is recorded. The messages go soon; some may stay longer.
erase-none = There is nothing to erase.

configure-name = How long my messages are kept
contact-name = How long messages with a contact are kept
contact-choose = For the chat with whom do you want to set something?
contact-with = Address of your contact
wished-choose = This concerns only your own archive here. Your devices and your contacts keep their own copies, and if the server keeps messages for less time, that counts.
wished-longest = Longest time by the rules of the server
wished-in-all = Longest time that you have set for all chats
wished-fixed = The server keeps messages for less time than you could set.
wished-archive-for = Longest time in your archive
wished-encrypted-for = Timer of encrypted messages that show none
wished-once = Messages with a timer go soon after you have read them
wished-once-fixed = The server does not look at what you have read: messages with a timer go when it has run out.
wished-confirm = This is what it means. Finish to set it.
wished-type = This is what it means. To set it, type your own address: { $address }
wished-again = That was not your address. Nothing has been set.
wished-count = Messages that go right away
wished-first = The first goes, at the earliest
wished-once-for = Time that messages with a timer stay once you have read them
wished-since = This is for messages that come after it was set. For those that you send the time begins when you send them.
wished-once-off = Messages with a timer go when it has run out.
wished-forever = What has gone cannot be brought back, and messages that come later go in the same way.
wished-set = This is set. Some messages may stay longer.

error-foreign = These commands are for users of this server only.
error-limited = You have asked too often. Please wait a minute.
error-busy = Too much is asked at the moment. Please try again soon.
error-failed = This cannot be looked up at the moment. Please try again later.
error-session = This conversation is over, or never began. Please start again.
error-expired = You took too long to answer. Please start again.
error-action = This is not possible at this point.
error-payload = This answer does not fit the question.
