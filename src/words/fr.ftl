days = { $count ->
    [one] { $count } jour
   *[other] { $count } jours
}
hours = { $count ->
    [one] { $count } heure
   *[other] { $count } heures
}
minutes = { $count ->
    [one] { $count } minute
   *[other] { $count } minutes
}
seconds = { $count ->
    [one] { $count } seconde
   *[other] { $count } secondes
}
no-time = aucune
no-limit = sans limite
planned = { $limit } (annoncé, pas encore en vigueur)
wished = { $limit } (comme vous l’avez réglé)
paused = L’effacement est suspendu pour le moment. Ce qui est arrivé à échéance disparaîtra dès la reprise.
dry-run = Rien n’est effacé pour le moment : ce n’est qu’un essai.

command-list = Ce qui est conservé des messages
policy-name = Combien de temps les messages sont conservés ici
policy-intro = Les messages qui doivent disparaître sont aussi effacés des archives de { $host }. Voici les règles qui s’appliquent à vous :
policy-timer-min = Minuteur le plus court
policy-timer-max = Minuteur le plus long
policy-start = Le minuteur d’un message que vous recevez démarre
start-archived = quand le serveur archive le message
start-delivered = quand vous avez reçu le message
start-read = quand vous avez lu le message
start-auto = quand vous avez lu le message, ou quand vous l’avez reçu si vos applications n’indiquent pas au serveur ce que vous lisez
policy-sent = Le minuteur d’un message que vous envoyez démarre, dans vos propres archives, quand le serveur l’archive.
policy-unread-for = Attente maximale de la lecture d’un message, avant que son minuteur démarre
policy-once-for = Durée de conservation d’un message à lecture unique, une fois lu
policy-hint = Durée de conservation d’un message que l’expéditeur a demandé de ne pas stocker
policy-negotiation = Durée de conservation d’un message qui ne fait que convenir d’un minuteur
policy-rooms-start = Dans les salons, les minuteurs démarrent
rooms-archived = quand le serveur archive le message
rooms-first-reader = quand une autre personne que l’expéditeur a lu le message
rooms-everyone = quand tous les membres du salon ont lu le message
policy-archive-for = Durée maximale dans vos archives, quoi qu’ait demandé l’expéditeur
policy-queue-for = Durée maximale d’attente tant que vous n’êtes pas en ligne
policy-rooms-for = Durée maximale dans les salons, sauf règle propre à un salon
policy-placeholder = Durée de conservation d’une entrée vide, sans le texte
policy-cannot = Le serveur ne peut effacer ni ce qui se trouve sur les appareils des destinataires, ni ce que contiennent ses sauvegardes, et il ne voit pas un minuteur placé dans un message chiffré.

kept-name = Ce qui est conservé de moi
kept-choose = Quels messages vous intéressent ?
kept-which = Messages
kept-archive = Dans vos archives
kept-queue = En attente de votre connexion
kept-both = Les deux
kept-summary = { $count ->
    [0] Aucun message ne va disparaître.
    [one] { $count } message va disparaître.
   *[other] { $count } messages vont disparaître.
}
kept-many = Plus de { $count ->
    [one] { $count } message est enregistré
   *[other] { $count } messages sont enregistrés
} ici : trop pour les examiner tous.
kept-going = Vont disparaître
kept-timer = Parce que l’expéditeur a réglé un minuteur
kept-hint = Parce que l’expéditeur a demandé de ne pas les stocker
kept-negotiation = Parce qu’ils ne font que convenir d’un minuteur
kept-age = En raison de leur âge
kept-oldest = Le plus ancien date du
kept-next = Le prochain disparaît au plus tôt
kept-wish = À la demande de qui
wish-timer = l’expéditeur a réglé un minuteur
wish-hint = l’expéditeur a demandé de ne pas le stocker
wish-negotiation = il ne fait que convenir d’un minuteur
wish-age = le serveur ne conserve aucun message plus longtemps
wish-own = vous ne voulez conserver aucun message plus longtemps
kept-unread = Attendent que vous les lisiez
kept-undelivered = Attendent que vous les receviez
kept-backlog = Messages plus anciens, conservés pour le moment
kept-emptied = Entrées vides, dont le texte est effacé
kept-rest = Durée maximale pour tous les autres messages
kept-chats = Discussions pour lesquelles vous avez un réglage propre
kept-note = Les dates indiquées sont les plus proches possibles : un message peut rester plus longtemps.

erase-name = Effacer mes messages
erase-choose = Lesquels de vos messages faut-il effacer ici ? Si vous laissez les deux champs vides, ce sera tous. Écrivez un jour ainsi : 2026-11-01.
erase-with = Seulement la discussion avec cette adresse
erase-before = Seulement avant ce jour (UTC)
erase-all = Tous vos messages ici : ceux de vos archives et ceux qui attendent votre connexion.
erase-count = Messages concernés
erase-many = { $count } ou plus
erase-forever = Cette action est irréversible. Ce qui se trouve sur vos appareils reste, vos contacts gardent leurs propres copies, et les messages suivants restent.
erase-type = Pour effacer ces messages, saisissez votre propre adresse : { $address }
erase-confirm = Votre adresse
erase-again = Ce n’était pas votre adresse. Rien n’a été effacé.
erase-soon = Votre demande est enregistrée. Les messages disparaîtront bientôt ; certains peuvent rester plus longtemps.
erase-none = Il n’y a rien à effacer.

configure-name = Combien de temps mes messages sont conservés
contact-name = Combien de temps les messages avec un contact sont conservés
contact-choose = Pour la discussion avec qui voulez-vous régler quelque chose ?
contact-with = Adresse de votre contact
wished-choose = Cela ne concerne que vos propres archives ici. Vos appareils et vos contacts gardent leurs propres copies, et si le serveur conserve les messages moins longtemps, c’est ce qui compte.
wished-longest = Durée maximale selon les règles du serveur
wished-in-all = Durée maximale que vous avez réglée pour toutes les discussions
wished-fixed = Le serveur conserve les messages moins longtemps que ce que vous pourriez régler.
wished-archive-for = Durée maximale dans vos archives
wished-encrypted-for = Minuteur des messages chiffrés qui n’en montrent pas
wished-once = Les messages à minuteur disparaissent peu après votre lecture
wished-once-fixed = Le serveur ne regarde pas ce que vous avez lu : les messages à minuteur disparaissent quand il est écoulé.
wished-confirm = Voici ce que cela signifie. Terminez pour l’enregistrer.
wished-type = Voici ce que cela signifie. Pour l’enregistrer, saisissez votre propre adresse : { $address }
wished-again = Ce n’était pas votre adresse. Rien n’a été réglé.
wished-count = Messages qui disparaissent tout de suite
wished-first = Le premier disparaît au plus tôt
wished-once-for = Durée de conservation des messages à minuteur une fois lus
wished-since = Cela vaut pour les messages qui arrivent après ce réglage. Pour ceux que vous envoyez, le délai commence à l’envoi.
wished-once-off = Les messages à minuteur disparaissent quand il est écoulé.
wished-forever = Ce qui a disparu ne peut pas être récupéré, et les messages suivants disparaissent de la même façon.
wished-set = C’est réglé. Certains messages peuvent rester plus longtemps.

error-foreign = Ces commandes sont réservées aux utilisateurs de ce serveur.
error-limited = Vous avez fait trop de demandes. Veuillez patienter une minute.
error-busy = Trop de demandes sont en cours. Veuillez réessayer dans un instant.
error-failed = Cette information n’est pas disponible pour le moment. Veuillez réessayer plus tard.
error-session = Cet échange est terminé ou n’a jamais commencé. Veuillez recommencer.
error-expired = Votre réponse est arrivée trop tard. Veuillez recommencer.
error-action = Cela n’est pas possible à cette étape.
error-payload = Cette réponse ne correspond pas à la question.
